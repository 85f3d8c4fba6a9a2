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

/// An object that is written field by field, to the bytes that [`to_writer`] makes of the whole: for one whose last field
/// tells of those before it.
pub struct Object<W> {
    out: W,
    has_field: bool,
}

impl<W: io::Write> Object<W> {
    /// One without fields yet, written to `out`.
    pub fn new(out: W) -> Self {
        Self { out, has_field: false }
    }

    /// Writes a field.
    ///
    /// # Errors
    /// As for [`to_writer`].
    pub fn field(&mut self, name: &str, value: &impl Serialize) -> serde_json::Result<()> {
        let separator = if self.has_field { ",\n  " } else { "{\n  " };
        self.has_field = true;
        self.out.write_all(separator.as_bytes()).map_err(serde_json::Error::io)?;
        append(&mut self.out, &name, 1)?;
        self.out.write_all(b": ").map_err(serde_json::Error::io)?;
        append(&mut self.out, value, 1)
    }

    /// Where it is written: up to now its fields, without an end.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }

    /// Ends it.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn end(mut self) -> io::Result<W> {
        self.out.write_all(if self.has_field { b"\n}\n" } else { b"{}\n" })?;
        Ok(self.out)
    }
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
    use super::Object;
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

    #[test]
    fn field_by_field_it_is_the_whole() {
        for value in [json!({}), json!({"a \"quoted\"": {"b": [1, {}]}}), json!({"a": [[1], 2], "b": {}, "c": "d"})] {
            let mut object = Object::new(Vec::new());
            for (name, value) in value.as_object().unwrap() {
                object.field(name, value).unwrap();
            }
            assert_eq!(String::from_utf8(object.end().unwrap()).unwrap(), text(&value));
        }
    }
}
