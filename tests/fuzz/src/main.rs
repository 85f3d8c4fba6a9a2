//! libFuzzer around [`targets`]: one program, the target named by `NODEKILN_FUZZ`.
//!
//! The instrumentation comes from LLVM's own pass, which a stable compiler takes too (tests/tools/fuzz has the flags).
#![no_main]

mod targets;

use libfuzzer_sys::fuzz_target;
use std::{env, fs, path::Path, process, sync::OnceLock};

static TARGET: OnceLock<targets::Target> = OnceLock::new();

/// Chooses the target; with `NODEKILN_FUZZ_SEEDS=FOLDER` it writes what to begin with, and ends.
fn start() {
    let name = env::var("NODEKILN_FUZZ").unwrap_or_default();
    let Some(target) = targets::ALL.iter().find(|target| target.name == name) else {
        eprintln!("NODEKILN_FUZZ has to be one of {:?}", targets::ALL.map(|target| target.name));
        process::exit(2);
    };
    if let Some(folder) = env::var_os("NODEKILN_FUZZ_SEEDS") {
        for (index, seed) in (target.seeds)().iter().enumerate() {
            if let Err(error) = fs::write(Path::new(&folder).join(format!("seed-{index}")), seed) {
                eprintln!("writing seeds: {error}");
                process::exit(1);
            }
        }
        process::exit(0);
    }
    TARGET.get_or_init(|| *target);
}

fuzz_target!(init: start(), |data: &[u8]| {
    if let Some(target) = TARGET.get() {
        (target.run)(data);
    }
});
