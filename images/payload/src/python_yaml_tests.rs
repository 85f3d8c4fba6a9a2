//! What PyYAML 6.0.3 says of the same texts is what stands in these tables.

use crate::python_yaml::read;
use serde_json::{Value, json};

/// The value of `a`, or the faults.
fn value(text: &str) -> Result<Value, Vec<String>> {
    let read = read(&format!("a: {text}\n"));
    read.map(|value| value["a"].clone()).map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

#[test]
fn scalars() {
    for (text, due) in [
        ("0644", json!(420)),
        ("0777", json!(511)),
        ("010", json!(8)),
        ("-010", json!(-8)),
        ("+12", json!(12)),
        ("00", json!(0)),
        ("0_", json!(0)),
        ("08", json!("08")),
        ("0o17", json!("0o17")),
        ("0O17", json!("0O17")),
        ("0x1F", json!(31)),
        ("0X1F", json!("0X1F")),
        ("0b101", json!(5)),
        ("1_000", json!(1000)),
        ("_1", json!("_1")),
        ("18446744073709551615", json!(18_446_744_073_709_551_615_u64)),
        ("-9223372036854775808", json!(i64::MIN)),
        ("1.0", json!(1.0)),
        ("1.", json!(1.0)),
        (".5", json!(0.5)),
        ("-.5", json!("-.5")),
        ("1.5e+3", json!(1500.0)),
        ("1.5e3", json!("1.5e3")),
        ("1e3", json!("1e3")),
        ("1e+3", json!("1e+3")),
        ("yes", json!(true)),
        ("On", json!(true)),
        ("OFF", json!(false)),
        ("y", json!("y")),
        ("n", json!("n")),
        ("tRUE", json!("tRUE")),
        ("~", json!(null)),
        ("", json!(null)),
        ("null", json!(null)),
        ("10.0.0.1", json!("10.0.0.1")),
        ("1.2.3", json!("1.2.3")),
        (".", json!(".")),
        ("0:0", json!("0:0")),
        ("12:60", json!("12:60")),
        ("52:54:00:ab:00:11", json!("52:54:00:ab:00:11")),
        ("2001-1-1", json!("2001-1-1")),
        ("2001-01-01x", json!("2001-01-01x")),
        ("'0644'", json!("0644")),
        ("\"0644\"", json!("0644")),
        ("!!str 0644", json!("0644")),
        ("!!int 0644", json!(420)),
        ("'<<'", json!("<<")),
        ("|\n  0644\n", json!("0644\n")),
        ("[echo, 0777]", json!(["echo", 511])),
        ("{uid: 010}", json!({"uid": 8})),
    ] {
        assert_eq!(value(text), Ok(due), "{text}");
    }
}

#[test]
fn refused() {
    for (text, due) in [
        ("12:30", "line 1, column 4: YAML 1.1, which cloud-init reads, makes a number in base 60 of this: quote it"),
        ("52:54:00:20:00:11", "line 1, column 4: YAML 1.1, which cloud-init reads, makes a number in base 60"),
        ("0:30.5", "line 1, column 4: YAML 1.1, which cloud-init reads, makes a number in base 60"),
        ("2032-09-01", "line 1, column 4: YAML 1.1, which cloud-init reads, makes a date of this: quote it"),
        ("2001-1-1 1:02:03.5 +1:30", "line 1, column 4: YAML 1.1, which cloud-init reads, makes a date"),
        ("2001-12-14t21:59:43Z", "line 1, column 4: YAML 1.1, which cloud-init reads, makes a date"),
        ("=", "line 1, column 4: YAML 1.1"),
        ("<<", "line 1, column 4: YAML 1.1"),
        (".inf", "line 1, column 4: a number that JSON does not have"),
        ("-.INF", "line 1, column 4: a number that JSON does not have"),
        (".nan", "line 1, column 4: a number that JSON does not have"),
        ("0x_", "line 1, column 4: a number that JSON does not have"),
        ("18446744073709551616", "line 1, column 4: a number that JSON does not have"),
        // Read back, `1e16` is a text.
        ("10000000000000000.0", "line 1, column 4: a number that JSON does not have"),
        ("!!binary aGVsbG8=", "line 1, column 13: binary data"),
        ("!!int x", "line 1, column 10: not what its tag says"),
        ("!x y", "line 1, column 7: a tag that is not read"),
        ("!x [y]", "line 1, column 7: a tag that is not read"),
        ("1\n0644: b", "line 2, column 1: YAML 1.1, which cloud-init reads, makes no text of this key: quote it"),
        ("\n  on: b", "line 2, column 3: YAML 1.1, which cloud-init reads, makes no text of this key: quote it"),
        ("1\n? [a]\n: b", "line 2, column 3: a key that is no text"),
        ("1\na: 2", "line 2, column 4: the value of a key that comes twice"),
        ("1\n---\nb: 1", "line 2, column 1: a second document"),
        ("*x", "line 1, column 4: no YAML"),
        ("&x [*x]", "line 1, column 8: an alias inside of what it stands for"),
        ("1\n<<: b", "line 1, column 1: `<<` takes a mapping"),
        ("[", "no YAML"),
    ] {
        let found = value(text).unwrap_err();
        assert!(found.len() == 1 && found[0].contains(due), "{text}: {found:?}");
    }
    // All at once, in their order, and nothing of what is there.
    let found = value("[1:2, hunter2, 2001-01-01]").unwrap_err();
    assert!(found.len() == 2 && !found.concat().contains("2001"), "{found:?}");
}

#[test]
fn aliases_and_merge_keys() {
    let text = "a: &a {x: 1, y: 0644}\nb: *a\nc: {<<: *a, x: 3}\nd: {<<: [*a, {x: 2, z: 1}]}\ne: {\"<<\": 1}\n";
    let a = json!({"x": 1, "y": 420});
    let due = json!({"a": a, "b": a, "c": {"x": 3, "y": 420}, "d": {"x": 1, "y": 420, "z": 1}, "e": {"<<": 1}});
    assert_eq!(read(text), Ok(due));
    assert_eq!(read("# nothing\n"), Ok(Value::Null));
}

#[test]
fn bombs_and_towers_are_cheap() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    let mut chain = "a0: &a0 x\n".to_owned();
    for i in 1..200 {
        bomb.push_str(&format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 10].join(", ")));
        chain.push_str(&format!("a{i}: &a{i} [*a{}]\n", i - 1));
    }
    for text in [bomb, chain] {
        assert_eq!(read(&text).unwrap_err()[0].why, "aliases that unfold to more than is read");
    }
    for tower in ["[".repeat(100_000), "{a: ".repeat(100_000), "- ".repeat(100_000)] {
        assert_eq!(read(&tower).unwrap_err()[0].why, "no YAML");
    }
}

proptest::proptest! {
    /// What is written is read back the same: PyYAML reads the payload as this reads the snippet.
    #[test]
    fn json_is_read_back(text in "[-+0-9_.:eExobinfTtZyY ]{0,12}") {
        if let Ok(read_once) = value(&text) {
            let again = value(&read_once.to_string());
            proptest::prop_assert_eq!(again, Ok(read_once));
        }
    }

    #[test]
    fn any_text(text in "\\PC{0,100}") {
        let _ = read(&text);
    }
}

/// Wherever it is from the one before, and however many there are.
#[test]
fn faults_are_where_they_are() {
    let places = |text: &str| -> Vec<_> {
        read(text).unwrap_err().iter().map(|fault| (fault.line, fault.column)).collect::<Vec<_>>()
    };
    assert_eq!(
        places("\u{e9}: 22:22\nb: {\u{e9}: 1:20, <<: 3:33}\nc: 9:9\n"),
        [(1, 4), (2, 8), (2, 18), (2, 4), (3, 4)]
    );
    assert_eq!(places("a:\n- <<: 1:20\n  x:\n  - 3:33\n- 4:44\n"), [(2, 7), (4, 5), (2, 3), (5, 3)]);
    for one in ["- 22:22\n", "- [22:22]\n"] {
        assert_eq!(places(&one.repeat(100_000)).last().map(|(line, _)| *line), Some(100_000));
    }
    let flow = format!("[{}]", "22:22,".repeat(100_000));
    assert_eq!(places(&flow).last(), Some(&(1, 2 + 6 * 99_999)));
}
