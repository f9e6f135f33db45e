//! Maps and sets that are filled one entry at a time. The standard library's `collect` sorts before it fills, and each type
//! that is sorted adds some 8 kB to the module that every isolate loads; ours have a few entries.

use std::collections::{BTreeMap, BTreeSet};

/// A set of these.
pub fn set<T: Ord>(entries: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    let mut set = BTreeSet::new();
    set.extend(entries);
    set
}

/// A map of these; of two with the same key the last.
pub fn map<K: Ord, V>(entries: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, V> {
    let mut map = BTreeMap::new();
    map.extend(entries);
    map
}
