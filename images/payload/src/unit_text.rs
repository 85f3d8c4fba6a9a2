//! The syntax of unit files as far as Ignition and systemd refuse them.
//!
//! Ignition parses every unit and drop-in (`config/shared/validations/unit.go` with go-systemd) and refuses the whole
//! configuration over one that does not parse. systemd only warns and goes on without the line, which is worse to find:
//! what it would drop is refused here too.

/// Longest line that go-systemd takes, newline not counted (`SYSTEMD_LINE_MAX` counts it).
const LINE_MAX: usize = 2047;

/// What is wrong with a unit file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitFault {
    /// Nothing in it: systemd takes an empty unit file for a mask.
    #[error("the text is empty, which systemd reads as a mask")]
    Empty,
    /// A control character.
    #[error("line {0}: a control character")]
    Control(usize),
    /// Longer than Ignition's parser takes.
    #[error("line {0}: longer than 2047 bytes, which Ignition refuses; continue it with `\\`")]
    Long(usize),
    /// A `[section]` that does not end.
    #[error("line {0}: a section is written [NAME] and nothing after it")]
    Section(usize),
    /// A setting before the first section.
    #[error("line {0}: a setting before the first [section]")]
    Outside(usize),
    /// Neither section, setting nor comment.
    #[error("line {0}: neither [section] nor NAME=VALUE")]
    Setting(usize),
    /// A comment between the lines of one setting: to systemd it is not there, Ignition's parser ends the setting with it.
    #[error("line {0}: a comment inside a setting that is continued by `\\`, which Ignition refuses")]
    Comment(usize),
    /// The last line ends in a backslash.
    #[error("line {0}: continued by `\\`, but it is the last")]
    Continued(usize),
}

/// Parses a unit file; says whether it has a section `[Install]`.
pub(crate) fn check(text: &str) -> Result<Install, UnitFault> {
    // All bytes without a way out between them: that is many at a time, and nearly every text is plain.
    let is_plain = text.bytes().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~' | b'\t' | b'\n'));
    let mut section = None;
    let mut install = Install::Absent;
    let mut continued = false;
    let mut last = 0;
    for (number, line) in
        text.strip_suffix('\n').unwrap_or(text).split('\n').enumerate().map(|(index, line)| (index + 1, line))
    {
        last = number;
        if line.len() > LINE_MAX {
            return Err(UnitFault::Long(number));
        }
        if !is_plain && has_control(line) {
            return Err(UnitFault::Control(number));
        }
        let trimmed = line.trim();
        if trimmed.starts_with(['#', ';']) {
            if continued {
                return Err(UnitFault::Comment(number));
            }
            continue;
        }
        if continued {
            continued = line.ends_with('\\');
            continue;
        }
        if trimmed.is_empty() {
            continue;
        }
        if let Some(rest) = trimmed.strip_prefix('[') {
            let name = rest.strip_suffix(']').filter(|name| !name.is_empty() && !name.contains(['[', ']']));
            section = Some(name.ok_or(UnitFault::Section(number))?);
            if section == Some("Install") {
                install = Install::Present;
            }
            continue;
        }
        match trimmed.split_once('=') {
            Some((name, _)) if !name.trim().is_empty() => {}
            _ => return Err(UnitFault::Setting(number)),
        }
        if section.is_none() {
            return Err(UnitFault::Outside(number));
        }
        continued = line.ends_with('\\');
    }
    match (section, continued) {
        (None, _) => Err(UnitFault::Empty),
        (Some(_), true) => Err(UnitFault::Continued(last)),
        (Some(_), false) => Ok(install),
    }
}

/// Whether there is a control character other than a tab. Beyond ASCII there are more of them (C1).
fn has_control(line: &str) -> bool {
    match line.is_ascii() {
        true => line.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t'),
        false => line.chars().any(|c| c.is_control() && c != '\t'),
    }
}

/// Whether a unit says by whom it is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Install {
    /// It does.
    Present,
    /// It does not: enabling it has no effect, and Ignition warns.
    Absent,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies() {
        let long = format!("[Service]\nExecStart=/a {}\n", "x".repeat(2048 - 13));
        let edge = format!("[Service]\nExecStart=/a {}\n", "x".repeat(2047 - 13));
        for (text, want) in [
            ("[Unit]\nDescription=a\n[Install]\nWantedBy=b.target\n", Ok(Install::Present)),
            ("# note\n\n[Service]\nExecStart=/a \\\n  --b=c \\\n  --d\n; note\nRestart=no\n", Ok(Install::Absent)),
            ("[Service]\nExecStart=\n", Ok(Install::Absent)),
            (&edge, Ok(Install::Absent)),
            (&long, Err(UnitFault::Long(2))),
            ("", Err(UnitFault::Empty)),
            ("\n# only a note\n", Err(UnitFault::Empty)),
            ("Description=a\n", Err(UnitFault::Outside(1))),
            ("[Unit]\nDescription\n", Err(UnitFault::Setting(2))),
            ("[Unit]\n=a\n", Err(UnitFault::Setting(2))),
            ("[Unit\nDescription=a\n", Err(UnitFault::Section(1))),
            ("[]\n", Err(UnitFault::Section(1))),
            ("[Unit] x\n", Err(UnitFault::Section(1))),
            ("[Unit]\nDescription=a\u{7}\n", Err(UnitFault::Control(2))),
            ("[Unit]\nDescription=a\u{7f}\tb\n", Err(UnitFault::Control(2))),
            ("[Unit]\nDescription=a\u{85}\n", Err(UnitFault::Control(2))),
            ("[Unit]\nDescription=\u{e9}\ta\n", Ok(Install::Absent)),
            ("[Unit]\nDescription=a\\\n", Err(UnitFault::Continued(2))),
            ("[Service]\nExecStart=/a \\\n# b\n  --c\n", Err(UnitFault::Comment(3))),
        ] {
            assert_eq!(check(text), want, "{text:?}");
        }
    }
}
