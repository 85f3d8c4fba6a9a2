//! Types within a component's configuration: what Go would not read into its field, where the component would not start.

use super::{code, diag::Finding, resolve::duration};
use crate::release::{Fields, Kind};
use serde_json::{Number, Value};
use std::fmt::Write as _;

/// A step from a value to one in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// A value that its field does not take.
#[derive(Debug)]
pub struct Wrong {
    /// Where it is.
    pub(super) path: Vec<Step>,
    fault: Fault,
}

#[derive(Debug)]
enum Fault {
    /// A number or boolean where a text is due.
    Quote(&'static str),
    /// Something else than what is due. The last says that quotes alone make the difference.
    Type(&'static str, &'static str, bool),
    /// A number where a duration is due.
    Unit,
    /// A number that does not fit.
    Range(i64, i64),
    /// A text that is no duration, and why.
    Duration(&'static str),
    /// A text that is no quantity.
    Quantity,
}

impl Wrong {
    /// Its path, such as `reservedMemory[0].numaNode`.
    pub fn path_text(&self) -> String {
        let mut text = String::new();
        for step in &self.path {
            let _ = match step {
                Step::Key(key) if text.is_empty() => write!(text, "{key}"),
                Step::Key(key) => write!(text, ".{key}"),
                Step::Index(index) => write!(text, "[{index}]"),
            };
        }
        text
    }

    /// What is wrong, without the value: it may be a secret.
    pub fn message(&self) -> String {
        match self.fault {
            Fault::Quote(found) => format!("{found} where a text is due"),
            Fault::Type(due, found, _) => format!("this has to be {due}, not {found}"),
            Fault::Unit => "this has to be a duration, not a number".to_owned(),
            Fault::Range(least, most) => format!("this has to be a whole number from {least} to {most}"),
            Fault::Duration(why) => format!("this is not a duration: {why}"),
            Fault::Quantity => "this is not a quantity".to_owned(),
        }
    }

    /// As a finding.
    pub(super) fn finding(&self) -> Finding {
        let (code, hint) = match self.fault {
            Fault::Quote(_) => (code::QUOTE, Some("quote it")),
            Fault::Type(.., true) => (code::TYPE, Some("write it without quotes")),
            Fault::Type(..) => (code::TYPE, None),
            Fault::Unit => (code::TYPE, Some("write it with its unit: 10s, 1h30m")),
            Fault::Range(..) => (code::VALUE, None),
            Fault::Duration(_) => (code::DURATION, Some("durations are written as in Go: 10s, 1h30m")),
            Fault::Quantity => (code::VALUE, Some("quantities are written as in pods: 512Mi, 1.5G, 250m")),
        };
        let finding = Finding::new(code, self.message());
        match hint {
            Some(hint) => finding.hint(hint),
            None => finding,
        }
    }
}

/// The values in `config` that the fields do not take, in order. Fields that there are not are nobody's business here.
pub fn wrong_types(fields: &Fields, config: &Value) -> Vec<Wrong> {
    let mut walk = Walk { fields, path: Vec::new(), found: Vec::new() };
    walk.value("", &Kind::Object, config);
    walk.found
}

struct Walk<'a> {
    fields: &'a Fields,
    path: Vec<Step>,
    found: Vec<Wrong>,
}

impl Walk<'_> {
    /// `above`: the path of the value among the fields.
    fn value(&mut self, above: &str, kind: &Kind, value: &Value) {
        match (kind, value) {
            (Kind::List(kind), Value::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    self.below(Step::Index(index), &format!("{above}[]"), kind, item);
                }
            }
            (Kind::Map(kind), Value::Object(map)) => {
                for (key, value) in map {
                    self.below(Step::Key(key.clone()), &format!("{above}{{}}"), kind, value);
                }
            }
            (Kind::Object, Value::Object(map)) => {
                for (key, value) in map {
                    let above = if above.is_empty() { String::new() } else { format!("{above}.") };
                    if let Some((path, kind)) = self.fields.below(&above, key) {
                        self.below(Step::Key(key.clone()), &path, kind, value);
                    }
                }
            }
            _ => {
                let wrong = fault(kind, value).map(|fault| Wrong { path: self.path.clone(), fault });
                self.found.extend(wrong);
            }
        }
    }

    fn below(&mut self, step: Step, path: &str, kind: &Kind, value: &Value) {
        self.path.push(step);
        self.value(path, kind, value);
        self.path.pop();
    }
}

/// Why Go does not read `value` as `kind`.
fn fault(kind: &Kind, value: &Value) -> Option<Fault> {
    let other = |due| Some(Fault::Type(due, named(value), false));
    match (kind, value) {
        // Go takes it for nothing said, but hands it to types that read themselves.
        (Kind::Duration, Value::Null) => other("a duration"),
        (_, Value::Null) => None,
        (Kind::Text | Kind::Time, Value::String(_)) => None,
        (Kind::Text | Kind::Time, Value::Number(_) | Value::Bool(_)) => Some(Fault::Quote(named(value))),
        (Kind::Text | Kind::Time, _) => other("a text"),
        (Kind::Boolean, Value::Bool(_)) => None,
        (Kind::Boolean, Value::String(text)) => {
            Some(Fault::Type("`true` or `false`", named(value), text == "true" || text == "false"))
        }
        (Kind::Boolean, _) => other("`true` or `false`"),
        (Kind::Int32, _) => whole(value, i32::MIN.into(), i32::MAX.into()),
        (Kind::Uint32, _) => whole(value, 0, u32::MAX.into()),
        (Kind::Int64, _) => whole(value, i64::MIN, i64::MAX),
        (Kind::Float, Value::Number(_)) => None,
        (Kind::Float, Value::String(text)) => {
            Some(Fault::Type("a number", named(value), text.parse::<Number>().is_ok()))
        }
        (Kind::Float, _) => other("a number"),
        (Kind::Duration | Kind::DurationOrNanoseconds, Value::String(text)) => {
            duration(text).err().map(Fault::Duration)
        }
        (Kind::DurationOrNanoseconds, Value::Number(_)) => whole(value, i64::MIN, i64::MAX),
        (Kind::Duration, Value::Number(_)) => Some(Fault::Unit),
        (Kind::Duration | Kind::DurationOrNanoseconds, _) => other("a duration"),
        (Kind::Quantity, Value::Number(_)) => None,
        (Kind::Quantity, Value::String(text)) => (!is_quantity(text)).then_some(Fault::Quantity),
        (Kind::Quantity, _) => other("a quantity"),
        (Kind::List(_), _) => other("a list"),
        (Kind::Map(_) | Kind::Object, _) => other("a mapping"),
    }
}

fn whole(value: &Value, least: i64, most: i64) -> Option<Fault> {
    const DUE: &str = "a whole number";
    match value {
        Value::Number(number) => match number.as_i64() {
            Some(number) if (least..=most).contains(&number) => None,
            None if number.is_f64() => Some(Fault::Type(DUE, "a number with a fraction", false)),
            _ => Some(Fault::Range(least, most)),
        },
        Value::String(text) => Some(Fault::Type(DUE, named(value), text.parse::<i64>().is_ok())),
        _ => Some(Fault::Type(DUE, named(value), false)),
    }
}

fn named(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

/// The grammar of apimachinery's quantities: a decimal number, and a suffix or an exponent.
fn is_quantity(text: &str) -> bool {
    const SUFFIXES: [&str; 16] = ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let text = text.trim();
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    let exponent = suffix.strip_prefix(['e', 'E']).is_some_and(|e| !e.is_empty() && e.parse::<i32>().is_ok());
    digits > 0 && digits + 1 >= number.len() && (SUFFIXES.contains(&suffix) || exponent)
}
