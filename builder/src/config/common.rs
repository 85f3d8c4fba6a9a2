//! [`Common`]: what many nodes have, in memory once.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_are_one() {
        let mut known = Known::default();
        let (a, b, c) = (known.one("a".to_owned()), known.one("b".to_owned()), known.one("a".to_owned()));
        assert!(a.is(&c) && !a.is(&b));
        assert_eq!((a.address(), a.address() == b.address()), (c.address(), false));
    }
}
