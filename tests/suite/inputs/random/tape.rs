//! Choices, read off a tape of numbers that proptest makes, and makes smaller: zero, and what lies beyond the end, is
//! always the plainest choice.

use serde_json::{Map, Value};
use std::slice;

/// How many choices a cluster may take before all that follows is plain.
pub const LENGTH: usize = 400;

/// The tape, as far as it was not read.
pub struct Tape<'a>(slice::Iter<'a, u16>);

impl<'a> Tape<'a> {
    /// From its beginning.
    pub fn new(numbers: &'a [u16]) -> Self {
        Self(numbers.iter())
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::from(self.0.next().copied().unwrap_or(0)) % end.max(1)
    }

    /// Whether it is so, as happens once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    /// One of these, the first being the plainest.
    pub fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// Sets `key` once in `n` times.
    pub fn maybe(&mut self, map: &mut Map<String, Value>, n: usize, key: &str, value: impl FnOnce(&mut Self) -> Value) {
        if self.one_in(n) {
            let value = value(self);
            map.insert(key.to_owned(), value);
        }
    }

    /// Each of these keys of a mapping once in `n` times.
    pub fn some(&mut self, n: usize, all: &Value) -> Map<String, Value> {
        let entries = all.as_object().into_iter().flatten();
        entries.filter(|_| self.one_in(n)).map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// Each of these items of a list once in two times; at least one.
    pub fn items(&mut self, all: &Value) -> Value {
        let all = all.as_array().map(Vec::as_slice).unwrap_or_default();
        let chosen: Vec<_> = all.iter().filter(|_| self.one_in(2)).cloned().collect();
        if chosen.is_empty() { all.iter().take(1).cloned().collect() } else { Value::Array(chosen) }
    }
}
