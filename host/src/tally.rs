// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! How many of something each of many callers has at the same time, so that no single one takes them all.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The counts of all callers who have any. Cloning shares them.
#[derive(Clone, Debug)]
pub(crate) struct Tally<K: Eq + Hash>(Arc<Mutex<HashMap<K, usize>>>);

/// One thing of a caller; it counts until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted<K: Eq + Hash> {
    tally: Tally<K>,
    caller: K,
}

impl<K: Eq + Hash> Default for Tally<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Eq + Hash + Clone> Tally<K> {
    /// Counts one more of `caller`, who may have `limit`. None when that is reached.
    pub(crate) fn count(&self, caller: K, limit: usize) -> Option<Counted<K>> {
        let mut counts = self.lock();
        let count = counts.get(&caller).copied().unwrap_or(0);
        if count >= limit {
            return None;
        }
        counts.insert(caller.clone(), count + 1);
        Some(Counted { tally: self.clone(), caller })
    }
}

impl<K: Eq + Hash> Tally<K> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        // The lock guards plain numbers: they are whole even if another holder panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody has anything.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }
}

impl<K: Eq + Hash> Drop for Counted<K> {
    fn drop(&mut self) {
        let mut counts = self.tally.lock();
        if let Some(count) = counts.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_has_a_limit_and_gets_a_place_back_with_every_end() {
        let tally = Tally::default();
        let first = tally.count("a", 2);
        let second = tally.count("a", 2);
        assert!(first.is_some() && second.is_some());
        assert!(tally.count("a", 2).is_none());
        assert!(tally.count("b", 2).is_some(), "another caller has places of its own");
        drop(first);
        assert!(tally.count("a", 2).is_some());
        drop(second);
        assert!(tally.is_empty(), "nothing is kept about those who left");
        assert!(tally.count("a", 0).is_none() && tally.is_empty());
    }
}
