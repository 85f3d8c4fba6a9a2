//! [`Common`] and [`FragmentText`]: what many nodes have, in memory once, and what each may have of its own, small.

use super::Fragment;
use std::{collections::HashSet, hash::Hash, ops::Deref, ptr, sync::Arc};

/// Something that many nodes have in common.
#[derive(Debug, PartialEq, Eq, Hash, Default)]
pub struct Common<T>(Arc<T>);

impl<T> Common<T> {
    /// Where it is in memory: two at one address are the same, and at different ones at the same time they are not.
    pub(super) fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// Whether both are one.
    pub fn is(&self, other: &Self) -> bool {
        ptr::eq(&*self.0, &*other.0)
    }
}

impl<T> Clone for Common<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> From<T> for Common<T> {
    fn from(value: T) -> Self {
        Self(Arc::new(value))
    }
}

impl<T> Deref for Common<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// In tests: what changes is this node's alone.
#[cfg(test)]
impl<T: Clone> std::ops::DerefMut for Common<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

/// Those that there are.
#[derive(Debug)]
pub(super) struct Known<T>(HashSet<Common<T>>);

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self(HashSet::new())
    }
}

impl<T: Eq + Hash> Known<T> {
    /// `value`, or the one that equals it and was there before.
    pub(super) fn one(&mut self, value: T) -> Common<T> {
        let value = Common::from(value);
        if let Some(known) = self.0.get(&value) {
            return known.clone();
        }
        self.0.insert(value.clone());
        value
    }
}

/// A [`Fragment`] as text of JSON: a tenth of its size, since ten thousand nodes may have ten thousand.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FragmentText(Box<str>);

impl FragmentText {
    /// The fragment.
    pub fn fragment(&self) -> Fragment {
        serde_json::from_str(&self.0).expect("what was written as an object is read as one")
    }
}

impl From<Fragment> for FragmentText {
    fn from(fragment: Fragment) -> Self {
        Self(serde_json::Value::Object(fragment).to_string().into())
    }
}

#[cfg(test)]
impl From<Fragment> for Common<FragmentText> {
    fn from(fragment: Fragment) -> Self {
        FragmentText::from(fragment).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    #[test]
    fn equals_are_one() {
        let mut known = Known::default();
        let (a, b, c) = (known.one("a".to_owned()), known.one("b".to_owned()), known.one("a".to_owned()));
        assert!(a.is(&c) && !a.is(&b));
        assert_eq!((a.address(), a.address() == b.address()), (c.address(), false));
    }

    #[test]
    fn numbers_and_depth_survive() {
        // As deep as cluster.yaml may be.
        let deep = (0..64).fold(json!(null), |inner, _| json!({ "a": inner }));
        for value in [
            json!({"a": 0.1, "b": -0.0, "c": 1e300, "d": u64::MAX, "e": i64::MIN, "f": 1.0, "g": 5e-324}),
            json!({"a": {"b": [1, {"c": "\u{1f600}\"\\\n\u{0}"}]}, "": null}),
            deep,
        ] {
            let fragment = value.as_object().unwrap().clone();
            let read = FragmentText::from(fragment.clone()).fragment();
            assert_eq!(Value::Object(read.clone()).to_string(), Value::Object(fragment.clone()).to_string());
            assert_eq!(read, fragment);
        }
    }

    proptest! {
        #[test]
        fn every_number_survives(number in any::<f64>().prop_filter("JSON has no others", |n| n.is_finite())) {
            let fragment = json!({ "a": number }).as_object().unwrap().clone();
            prop_assert_eq!(FragmentText::from(fragment.clone()).fragment(), fragment);
        }
    }
}
