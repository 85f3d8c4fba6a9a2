//! Unit files, built from sections and escaped words.

use std::fmt::Write as _;

/// A unit file or drop-in.
#[derive(Default)]
pub(crate) struct UnitFile(String);

impl UnitFile {
    /// Begins a section.
    pub fn section(mut self, name: &str) -> Self {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        let _ = writeln!(self.0, "[{name}]");
        self
    }

    /// Adds an assignment. The value is taken as it is: texts that may hold anything go through [`command`].
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.0.extend([key, "=", value, "\n"]);
        self
    }

    /// Adds an assignment per value.
    pub fn each<T: AsRef<str>>(self, key: &str, values: impl IntoIterator<Item = T>) -> Self {
        values.into_iter().fold(self, |file, value| file.set(key, value.as_ref()))
    }

    /// Adds a list of units, without repeats and in this order.
    pub fn units<T: AsRef<str>>(self, key: &str, units: impl IntoIterator<Item = T>) -> Self {
        let units: Vec<T> = units.into_iter().collect();
        let mut seen: Vec<&str> = Vec::with_capacity(units.len());
        for unit in &units {
            if !seen.contains(&unit.as_ref()) {
                seen.push(unit.as_ref());
            }
        }
        self.set(key, &seen.join(" "))
    }

    /// The text.
    pub fn render(self) -> String {
        self.0
    }
}

/// A command line for `ExecStart=` and kin: a program and its arguments, each one word whatever it holds.
pub(crate) fn command<T: AsRef<str>>(program: &str, arguments: impl IntoIterator<Item = T>) -> String {
    // Variables are not replaced in the program's path, so its `$` stays single.
    let mut line = String::with_capacity(256);
    quote(program, false, &mut line);
    for argument in arguments {
        line.push(' ');
        quote(argument.as_ref(), true, &mut line);
    }
    line
}

/// Adds one word of a command line: systemd.service(5), "Command lines", for quotes, `$` and a lone `;`; systemd.unit(5),
/// "Specifiers", for `%`.
fn quote(text: &str, variables: bool, out: &mut String) {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_=/.,:@%$+*[]{}<>~^&|!?#()".contains(&b);
    let is_first = || !text.is_empty() && !text.starts_with(['#', '~', '@', '-', '!', ':', '+', '|']);
    let bare = text.bytes().all(plain) && (is_first() || text.starts_with("--"));
    if bare && !text.contains(['%', '$']) {
        out.push_str(text);
        return;
    }
    out.push_str(if bare { "" } else { "\"" });
    for c in text.chars() {
        match c {
            '%' => out.push_str("%%"),
            '$' if variables => out.push_str("$$"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    let _ = write!(out, "\\x{byte:02x}");
                }
            }
            c => out.push(c),
        }
    }
    out.push_str(if bare { "" } else { "\"" });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        for (text, want) in [
            ("--a=b", "--a=b"),
            ("--node-labels=a.b/c=d,e=", "--node-labels=a.b/c=d,e="),
            ("", "\"\""),
            ("a b", "\"a b\""),
            ("100%", "100%%"),
            ("${HOME}$x", "$${HOME}$$x"),
            ("a\"b'c\\d", "\"a\\\"b'c\\\\d\""),
            ("a\nb\tc\u{1}", "\"a\\nb\\tc\\x01\""),
            (";", "\";\""),
            ("-x", "\"-x\""),
            ("é", "\"é\""),
        ] {
            let mut word = String::new();
            quote(text, true, &mut word);
            assert_eq!(word, want, "{text:?}");
        }
        assert_eq!(command("/opt/b in/k", ["a", "b c"]), "\"/opt/b in/k\" a \"b c\"");
        assert_eq!(command("/opt/$x%", ["$x"]), "/opt/$x%% $$x");
    }

    #[test]
    fn files() {
        let file = UnitFile::default().section("Unit").units("After", ["a", "b", "a"]).section("Service").set("X", "y");
        assert_eq!(file.render(), "[Unit]\nAfter=a b\n\n[Service]\nX=y\n");
    }
}
