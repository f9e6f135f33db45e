//! A bounded memory, for what one isolate remembers between requests.

use std::collections::HashMap;
use std::hash::Hash;

/// Remembers at least the `capacity` / 2 last entries and never more than `capacity`.
///
/// Two generations: entries go into the young one; when it holds half the capacity the old one is dropped and the
/// young one takes its place. Every operation is one or two look-ups, and nothing is ever walked.
#[derive(Debug)]
pub struct Memory<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    half: usize,
}

impl<K: Eq + Hash, V> Memory<K, V> {
    /// An empty memory of at most `capacity` entries.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), half: (capacity / 2).max(1) }
    }

    /// What is remembered under the key.
    pub fn recall<Q>(&self, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// The same, to be changed.
    pub fn recall_mut<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.young.get_mut(key).or_else(|| self.old.get_mut(key))
    }

    /// Remembers, in place of what was there.
    pub fn remember(&mut self, key: K, value: V) {
        self.old.remove(&key);
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            // Its room is used again: to grow, a map hashes all that it holds anew.
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(key, value);
    }

    /// Forgets.
    pub fn forget<Q>(&mut self, key: &Q)
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.young.remove(key);
        self.old.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_the_newest_half_and_never_more_than_its_capacity() {
        let mut memory = Memory::new(10);
        for number in 0..1000_u32 {
            memory.remember(number, number);
            assert!(memory.young.len() + memory.old.len() <= 10);
            for recent in number.saturating_sub(4)..=number {
                assert_eq!(memory.recall(&recent), Some(&recent));
            }
        }
        assert_eq!(memory.recall(&900), None);
    }

    #[test]
    fn the_last_value_counts_wherever_the_older_one_was() {
        let mut memory = Memory::new(4);
        memory.remember("a", 1);
        memory.remember("b", 1);
        memory.remember("c", 1);
        memory.remember("a", 2);
        assert_eq!(memory.recall("a"), Some(&2));
        memory.forget("a");
        assert_eq!(memory.recall("a"), None);
    }
}
