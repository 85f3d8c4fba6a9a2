//! What was made of contents that many nodes share: encoded once, decoded once.
//!
//! Every entry is a pure function of its key, so that neither the order of nodes nor what was forgotten shows in a byte.

use std::{
    borrow::Borrow,
    collections::HashMap,
    convert::Infallible,
    hash::{BuildHasher as _, DefaultHasher, Hash, Hasher, RandomState},
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

/// How many fingerprints are kept of small entries that came by once.
const MET: usize = 4096;

/// How much of the end of a key is in its fingerprint.
const END: usize = 128;

/// A map that forgets: when the young generation is full it becomes the old one, and what was old and not asked for since
/// is gone. What every node has stays; what one node had goes.
///
/// Entries are found by fingerprint, so that a key of some length is hashed once, and are theirs whose key is the same.
struct Generations<K, V> {
    young: HashMap<u64, Entry<K, V>>,
    old: HashMap<u64, Entry<K, V>>,
    weight: usize,
    limit: usize,
    /// Fingerprints of what came by once, each in its place: most of that belongs to one node and is not asked for again.
    /// Empty where everything is kept at once.
    met: Vec<u64>,
}

struct Entry<K, V> {
    key: K,
    value: V,
    weight: usize,
}

/// What is known of a key.
enum Known<V> {
    /// What was made of it.
    Value(V),
    /// That it came by before, so that it is worth keeping.
    Met,
    /// Nothing.
    Nothing,
}

impl<K, V: Clone> Generations<K, V> {
    fn new(limit: usize, met: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), weight: 0, limit, met: vec![0; met] }
    }

    /// What is known of `key`, which has come by with this.
    fn meet<Q: Eq + ?Sized>(&mut self, print: u64, key: &Q) -> Known<V>
    where
        K: Borrow<Q>,
    {
        if let Some(value) = self.get(print, key) {
            return Known::Value(value);
        }
        let place = usize::try_from(print % MET as u64).unwrap_or(0);
        match self.met.get_mut(place) {
            Some(met) if *met != print => {
                *met = print;
                Known::Nothing
            }
            _ => Known::Met,
        }
    }

    fn get<Q: Eq + ?Sized>(&mut self, print: u64, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let is_theirs = |entry: &&Entry<K, V>| entry.key.borrow() == key;
        if let Some(entry) = self.young.get(&print).filter(is_theirs) {
            return Some(entry.value.clone());
        }
        let value = self.old.get(&print).filter(is_theirs)?.value.clone();
        let entry = self.old.remove(&print)?;
        self.insert(print, entry);
        Some(value)
    }

    fn insert(&mut self, print: u64, entry: Entry<K, V>) {
        // Another key of the same fingerprint, or the same key made by another thread at the same time.
        let replaced = self.young.remove(&print).map_or(0, |entry| entry.weight);
        self.weight = self.weight - replaced + entry.weight;
        if self.weight > self.limit {
            self.old = mem::take(&mut self.young);
            self.weight = entry.weight;
        }
        self.young.insert(print, entry);
    }
}

/// Hashes of each part of a key its length and its end. Texts of one length that differ mostly differ there too: a
/// signature or a checksum ends them. Those that do not have one fingerprint, and are made anew each time.
struct Ends(DefaultHasher);

impl Hasher for Ends {
    fn write(&mut self, bytes: &[u8]) {
        self.0.write_usize(bytes.len());
        self.0.write(&bytes[bytes.len().saturating_sub(END)..]);
    }

    fn finish(&self) -> u64 {
        self.0.finish()
    }
}

/// What was made of contents that many nodes share, for all threads of a build: bounded, whatever number of nodes comes by.
///
/// Small and large entries are apart, so that a program does not push out all that is small. Small ones are kept when they
/// come by a second time, large ones at once: those are dear to make and no node's own.
pub struct Memory<K, V> {
    small: Mutex<Generations<K, V>>,
    large: Mutex<Generations<K, V>>,
    /// With a key of its own: who makes a payload that is read here does not choose what meets in it.
    hasher: RandomState,
    /// Bytes that are kept with a value, beside those that it was made of.
    weigh: fn(&V) -> usize,
}

impl<K, V: Clone> Default for Memory<K, V> {
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

impl<K, V: Clone> Memory<K, V> {
    /// Empty, for values that are no larger than what they are made of.
    pub fn new() -> Self {
        Self::weighing(|_| 0)
    }

    /// Empty, for values of which `weigh` says how many bytes they hold: a few packed ones may hold much.
    pub fn weighing(weigh: fn(&V) -> usize) -> Self {
        let [small, large] = [(LIMIT, MET), (FEW, 0)].map(|(limit, met)| Mutex::new(Generations::new(limit, met)));
        Self { small, large, hasher: RandomState::new(), weigh }
    }

    /// What was made of `key`, or is made now. `size` is in bytes.
    pub fn get_or<Q: Hash + Eq + ?Sized>(&self, key: &Q, size: usize, make: impl FnOnce() -> V) -> V
    where
        K: Borrow<Q> + for<'a> From<&'a Q>,
    {
        let Ok(value) = self.try_get_or(key, size, || Ok::<_, Infallible>(make()));
        value
    }

    /// As [`Memory::get_or`]; what cannot be made is not remembered.
    ///
    /// # Errors
    /// That of `make`.
    pub fn try_get_or<Q: Hash + Eq + ?Sized, E>(
        &self,
        key: &Q,
        size: usize,
        make: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, E>
    where
        K: Borrow<Q> + for<'a> From<&'a Q>,
    {
        if size < SHORT {
            return make();
        }
        let (generations, weight) = if size < LARGE { (&self.small, size) } else { (&self.large, 1) };
        let mut hasher = Ends(self.hasher.build_hasher());
        key.hash(&mut hasher);
        let print = hasher.finish();
        // Not held while it is made: two threads may make the same thing, once.
        let generations = || generations.lock().unwrap_or_else(PoisonError::into_inner);
        match generations().meet(print, key) {
            Known::Value(value) => return Ok(value),
            Known::Nothing => return make(),
            Known::Met => {}
        }
        let value = make()?;
        let held = (self.weigh)(&value);
        // What is small packed and large unpacked is neither.
        if size >= LARGE || held < LARGE {
            let weight = if size < LARGE { weight + held } else { weight };
            generations().insert(print, Entry { key: K::from(key), value: value.clone(), weight });
        }
        Ok(value)
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
        // Kept the second time.
        assert_eq!((ask("shared", 300), ask("shared", 300), ask("shared", 300)), (0, 1, 1));
        for index in 0..3 * LIMIT / 1000 {
            let key = format!("unique {index}");
            assert_eq!(ask(&key, 1000) + 1, ask(&key, 1000));
            assert_eq!(ask("shared", 300), 1);
        }
        let count = made.get();
        ask("unique 0", 1000);
        assert_eq!(made.get(), count + 1);
        let held = memory.small.lock().unwrap();
        assert!(held.young.len() + held.old.len() < 2 * LIMIT / 1000 + 4);
    }

    #[test]
    fn what_comes_by_once_is_not_kept() {
        let memory: Memory<Arc<str>, usize> = Memory::new();
        for index in 0..2 * MET {
            memory.get_or(&*format!("unique {index}"), 1000, || index);
        }
        let held = memory.small.lock().unwrap();
        assert_eq!((held.young.len(), held.old.len(), held.met.len()), (0, 0, MET));
    }

    /// A fingerprint only says where to look.
    #[test]
    fn another_key_of_the_same_fingerprint_is_another() {
        let mut held: Generations<Arc<str>, usize> = Generations::new(LIMIT, 0);
        held.insert(7, Entry { key: "a".into(), value: 1, weight: 1 });
        assert_eq!((held.get(7, "a"), held.get(7, "b")), (Some(1), None));
        held.limit = 0;
        held.insert(8, Entry { key: "c".into(), value: 3, weight: 1 });
        assert_eq!((held.get(7, "b"), held.get(7, "a"), held.get(7, "a")), (None, Some(1), Some(1)));
    }

    /// Nodes whose texts differ in front alone do not push out what all have.
    #[test]
    fn what_is_replaced_does_not_count() {
        let mut held: Generations<Arc<str>, usize> = Generations::new(10, 0);
        held.insert(1, Entry { key: "all".into(), value: 1, weight: 4 });
        for value in 0..100 {
            held.insert(2, Entry { key: "own".into(), value, weight: 4 });
        }
        assert_eq!((held.weight, held.get(1, "all"), held.get(2, "own")), (8, Some(1), Some(99)));
        assert!(held.old.is_empty());
    }

    /// Texts of one length and one end meet, and are told apart.
    #[test]
    fn what_differs_in_front_is_another() {
        let memory: Memory<Arc<str>, String> = Memory::new();
        for _ in 0..3 {
            for head in ["a", "b", "c"] {
                let key = head.to_owned() + &"x".repeat(300);
                assert_eq!(memory.get_or(&*key, key.len(), || head.to_owned()), head);
            }
        }
        // One that is of another length, or ends otherwise, does not push it out.
        let made = Cell::new(0);
        let ask = |key: &str| memory.get_or(key, key.len(), || made.replace(made.get() + 1).to_string());
        for key in ["y".repeat(300), "y".repeat(301), "y".repeat(300) + "x"].iter().cycle().take(9) {
            ask(key);
        }
        assert_eq!(made.get(), 6);
    }

    /// A few small texts may unpack to much.
    #[test]
    fn what_is_unpacked_counts() {
        let memory: Memory<Arc<str>, usize> = Memory::weighing(|value| *value);
        for (key, held) in [("a", LARGE / 2), ("b", LARGE / 2), ("c", LARGE / 2), ("d", LARGE / 2), ("e", LARGE)] {
            for _ in 0..2 {
                memory.get_or(key, 300, || held);
            }
        }
        let held = memory.small.lock().unwrap();
        assert_eq!((held.young.len(), held.old.len()), (1, 3));
    }

    #[test]
    fn short_texts_and_failures_are_not_kept() {
        let memory: Memory<Arc<str>, usize> = Memory::new();
        assert_eq!((memory.get_or("a", 1, || 1), memory.get_or("a", 1, || 2)), (1, 2));
        assert_eq!(memory.try_get_or("b", LARGE, || Err(())), Err(()));
        assert_eq!(memory.try_get_or("b", LARGE, || Ok::<_, ()>(3)), Ok(3));
        assert_eq!(memory.try_get_or("b", LARGE, || Ok::<_, ()>(4)), Ok(3));
    }
}
