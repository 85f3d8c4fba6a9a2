//! Whole files: what is accepted, and which finding stands where.

use super::*;

#[test]
fn examples_have_no_findings() {
    for example in examples::ALL {
        match load_str("cluster.yaml", example.text, None) {
            Ok(loaded) => assert!(loaded.warnings.is_empty(), "{}:\n{}", example.name, loaded.warnings),
            Err(Failure::Findings(found)) => panic!("{}:\n{found}", example.name),
            Err(e) => panic!("{e}"),
        }
    }
}
