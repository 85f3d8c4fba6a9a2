//! What was made of contents that many nodes share: encoded once, decoded once.
//!
//! Every entry is a pure function of its key, so that neither the order of nodes nor what was forgotten shows in a byte.

use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::Hash,
    mem,
    sync::{Mutex, PoisonError},
};

/// Texts shorter than this are made anew faster than they are found.
const SHORT: usize = 256;

/// From this size on an entry is a program, of which there are few.
const LARGE: usize = 1 << 20;

/// What a generation of small entries may hold, in bytes.
const LIMIT: usize = 2 << 20;

/// How many large entries a generation holds.
const FEW: usize = 8;

/// A map that forgets: when the young generation is full it becomes the old one, and what was old and not asked for since
/// is gone. What every node has stays; what one node had goes.
struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    weight: usize,
    limit: usize,
}

impl<K: Hash + Eq + Clone, V: Clone> Generations<K, V> {
    fn new(limit: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), weight: 0, limit }
    }

    fn get<Q: Hash + Eq + ?Sized>(&mut self, key: &Q, weight: usize) -> Option<V>
    where
        K: Borrow<Q>,
    {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.insert(key, value.clone(), weight);
        Some(value)
    }

    fn insert(&mut self, key: K, value: V, weight: usize) {
        self.weight += weight;
        if self.weight > self.limit {
            self.old = mem::take(&mut self.young);
            self.weight = weight;
        }
        self.young.insert(key, value);
    }
}

/// What was made of contents that many nodes share, for all threads of a build: bounded, whatever number of nodes comes by.
///
/// Small and large entries are apart, so that a program does not push out all that is small.
pub struct Memory<K, V> {
    small: Mutex<Generations<K, V>>,
    large: Mutex<Generations<K, V>>,
}

impl<K: Hash + Eq + Clone, V: Clone> Default for Memory<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> std::fmt::Debug for Memory<K, V> {
    /// Without contents: they may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Memory(..)")
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Memory<K, V> {
    /// Empty.
    pub fn new() -> Self {
        Self { small: Mutex::new(Generations::new(LIMIT)), large: Mutex::new(Generations::new(FEW)) }
    }

    /// What was made of `key`, or is made now. `size` is in bytes.
    pub fn get_or<Q: Hash + Eq + ?Sized>(&self, key: &Q, size: usize, make: impl FnOnce() -> V) -> V
    where
        K: Borrow<Q> + for<'a> From<&'a Q>,
    {
        self.try_get_or(key, size, || Some(make())).expect("it is made")
    }

    /// As [`Memory::get_or`]; what cannot be made is not remembered.
    pub fn try_get_or<Q: Hash + Eq + ?Sized>(&self, key: &Q, size: usize, make: impl FnOnce() -> Option<V>) -> Option<V>
    where
        K: Borrow<Q> + for<'a> From<&'a Q>,
    {
        if size < SHORT {
            return make();
        }
        let (generations, weight) = if size < LARGE { (&self.small, size) } else { (&self.large, 1) };
        // Not held while it is made: two threads may make the same thing, once.
        let known = generations.lock().unwrap_or_else(PoisonError::into_inner).get(key, weight);
        if known.is_some() {
            return known;
        }
        let value = make()?;
        generations.lock().unwrap_or_else(PoisonError::into_inner).insert(K::from(key), value.clone(), weight);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::Cell, sync::Arc};

    #[test]
    fn what_is_asked_for_stays_and_the_rest_goes() {
        let memory: Memory<Arc<str>, usize> = Memory::new();
        let made = Cell::new(0);
        let ask = |key: &str, size| memory.get_or(key, size, || made.replace(made.get() + 1));
        assert_eq!((ask("shared", 300), ask("shared", 300)), (0, 0));
        for index in 0..3 * LIMIT / 1000 {
            ask(&format!("unique {index}"), 1000);
            assert_eq!(ask("shared", 300), 0);
        }
        let count = made.get();
        ask("unique 0", 1000);
        assert_eq!(made.get(), count + 1);
        let held = memory.small.lock().unwrap();
        assert!(held.young.len() + held.old.len() < 2 * LIMIT / 1000 + 4);
    }

    #[test]
    fn short_texts_and_failures_are_not_kept() {
        let memory: Memory<Arc<str>, usize> = Memory::new();
        assert_eq!((memory.get_or("a", 1, || 1), memory.get_or("a", 1, || 2)), (1, 2));
        assert_eq!(memory.try_get_or("b", LARGE, || None), None);
        assert_eq!(memory.try_get_or("b", LARGE, || Some(3)), Some(3));
        assert_eq!(memory.try_get_or("b", LARGE, || Some(4)), Some(3));
    }
}
