//! JSON with one entry of a list or map a line: as small as compact JSON, nearly, and as fit for `diff` as pretty JSON.

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use std::io;

/// Containers up to this depth have a line for each entry; those in them stand on it as a whole.
const LINES: usize = 2;

/// Writes `value` in lines, with a newline at the end: the same bytes for the same value.
///
/// # Errors
/// Those of `out`, and values that are no JSON, such as maps whose keys are no texts.
pub fn to_writer(mut out: impl io::Write, value: &impl Serialize) -> serde_json::Result<()> {
    append(&mut out, value, 0)?;
    out.write_all(b"\n").map_err(serde_json::Error::io)
}

/// Writes `value` as an entry of the containers that are open, `depth` of them.
pub(crate) fn append(out: impl io::Write, value: &impl Serialize, depth: usize) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(out, Lines { depth, has_entry: false }))
}

/// How deep the writer is, and whether the innermost container with lines has an entry.
struct Lines {
    depth: usize,
    has_entry: bool,
}

impl Lines {
    fn begin(&mut self, bracket: u8, out: &mut (impl io::Write + ?Sized)) -> io::Result<()> {
        self.depth += 1;
        self.has_entry = false;
        out.write_all(&[bracket])
    }

    fn entry(&mut self, first: bool, out: &mut (impl io::Write + ?Sized)) -> io::Result<()> {
        /// As deep as lines go.
        const INDENT: &[u8; 2 * LINES] = b"    ";
        if !first {
            out.write_all(b",")?;
        }
        match self.depth {
            depth @ 0..=LINES => {
                out.write_all(b"\n")?;
                out.write_all(&INDENT[..2 * depth])
            }
            _ if first => Ok(()),
            _ => out.write_all(b" "),
        }
    }

    fn end(&mut self, bracket: u8, out: &mut (impl io::Write + ?Sized)) -> io::Result<()> {
        if self.depth <= LINES && self.has_entry {
            out.write_all(b"\n")?;
            out.write_all(&b"    "[..2 * (self.depth - 1)])?;
        }
        self.depth -= 1;
        self.has_entry = true;
        out.write_all(&[bracket])
    }
}

impl Formatter for Lines {
    fn begin_array<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.begin(b'[', out)
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.end(b']', out)
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.entry(first, out)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_entry = true;
        Ok(())
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.begin(b'{', out)
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.end(b'}', out)
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.entry(first, out)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_entry = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    fn text(value: &Value) -> String {
        let mut out = Vec::new();
        super::to_writer(&mut out, value).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_for_each_entry() {
        let value = json!({"a": [{"b": [1, 2], "c": {}}, {"b": []}], "d": {"e": {"f": null}}, "g": 1, "h": []});
        let lines = "{\n  \"a\": [\n    {\"b\": [1, 2], \"c\": {}},\n    {\"b\": []}\n  ],\n  \"d\": {\n    \"e\": \
            {\"f\": null}\n  },\n  \"g\": 1,\n  \"h\": []\n}\n";
        assert_eq!(text(&value), lines);
        for value in [json!([]), json!({}), json!(1), json!([[]]), json!([[[]], [[1]]])] {
            let back: Value = serde_json::from_str(&text(&value)).unwrap();
            assert_eq!(back, value);
        }
        assert_eq!((text(&json!({})).as_str(), text(&json!([[]])).as_str()), ("{}\n", "[\n  []\n]\n"));
    }
}
