//! The argument `--example NAME`.

use crate::config::examples::{self, Example};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

/// Takes the name of an example; help lists them all.
pub fn parser() -> impl TypedValueParser<Value = &'static Example> {
    let values = examples::ALL.iter().map(|example| PossibleValue::new(example.name).help(example.about));
    PossibleValuesParser::new(values).try_map(|name| examples::find(&name).ok_or("no such example"))
}
