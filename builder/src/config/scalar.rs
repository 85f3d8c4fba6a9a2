//! Plain scalars: what the core schema of YAML 1.2.2 (section 10.3) makes of a text without quotes.

use super::{
    code,
    diag::Finding,
    shown::{quoted, short},
};
use serde_json::Number;

/// What a plain scalar is, by the core schema.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Plain {
    Null,
    Bool(bool),
    /// `None` where it does not fit.
    Int(Option<i64>),
    Float,
    Text,
}

/// What a plain scalar is, by the core schema.
pub(super) fn kind_of(text: &str) -> Plain {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Plain::Null,
        "true" | "True" | "TRUE" => return Plain::Bool(true),
        "false" | "False" | "FALSE" => return Plain::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Plain::Float,
        _ => {}
    }
    let based = |digits: &str, radix| {
        (!digits.is_empty() && digits.chars().all(|c| c.is_digit(radix)))
            .then(|| i64::from_str_radix(digits, radix).ok())
    };
    if let Some(number) = text.strip_prefix("0x").and_then(|t| based(t, 16)) {
        return Plain::Int(number);
    }
    if let Some(number) = text.strip_prefix("0o").and_then(|t| based(t, 8)) {
        return Plain::Int(number);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Plain::Float;
    }
    if !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit()) {
        return Plain::Int(text.parse().ok());
    }
    if is_float(unsigned) { Plain::Float } else { Plain::Text }
}

/// A float as JSON: a whole one without a point, as Go prints it, for whoever reads whole numbers. `None` for what JSON does
/// not have.
pub(super) fn number_of(float: f64) -> Option<Number> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if float.fract() == 0.0 && float.abs() <= EXACT {
        return Some(Number::from(float as i64));
    }
    Number::from_f64(float)
}

/// `( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`
pub(super) fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (text, None),
    };
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    digits(whole)
        && digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(|e| !e.is_empty() && digits(e))
}

/// Words and numbers that YAML 1.1 tools read as something else than YAML 1.2 does.
pub(super) fn ambiguous(text: &str) -> bool {
    let word = matches!(text.to_ascii_lowercase().as_str(), "y" | "n" | "yes" | "no" | "on" | "off");
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let octal = digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
    word || octal
}

/// The finding about such a scalar.
pub(super) fn ambiguity(text: &str) -> Finding {
    Finding::new(code::AMBIGUOUS, format!("`{}` means one thing in YAML 1.1 and another in YAML 1.2", short(text)))
        .hint(format!("a number has no leading 0, a boolean is `true` or `false`; if it is a text, {}", quoted(text)))
}

/// The same, about a value that findings do not repeat.
pub(super) fn hidden_ambiguity() -> Finding {
    Finding::new(code::AMBIGUOUS, "this means one thing in YAML 1.1 and another in YAML 1.2")
        .hint("a number has no leading 0, a boolean is `true` or `false`; if it is a text, quote it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_schema() {
        for (text, kind) in [
            ("", Plain::Null),
            ("~", Plain::Null),
            ("TRUE", Plain::Bool(true)),
            ("yes", Plain::Text),
            ("0644", Plain::Int(Some(644))),
            ("-7", Plain::Int(Some(-7))),
            ("+7", Plain::Int(Some(7))),
            ("0o17", Plain::Int(Some(15))),
            ("0xff", Plain::Int(Some(255))),
            ("0x", Plain::Text),
            ("99999999999999999999", Plain::Int(None)),
            ("1.36", Plain::Float),
            ("1.", Plain::Float),
            (".5", Plain::Float),
            (".", Plain::Text),
            ("1e3", Plain::Float),
            ("1e", Plain::Text),
            ("-.inf", Plain::Float),
            ("52:54:00:20:00:11", Plain::Text),
            ("10.0.0.1", Plain::Text),
            ("2001-01-01", Plain::Text),
            ("1_000", Plain::Text),
            ("-", Plain::Text),
        ] {
            assert_eq!(kind_of(text), kind, "{text:?}");
        }
        assert!(ambiguous("0644") && ambiguous("Off") && !ambiguous("0") && !ambiguous("10"));
    }
}
