use super::*;

#[test]
fn rows_stand_in_order() {
    for (index, spec) in TABLE.iter().enumerate() {
        assert_eq!(spec.row as usize, index, "{:?}", spec.row);
        assert_eq!(super::spec(spec.row).name, spec.name);
    }
}
