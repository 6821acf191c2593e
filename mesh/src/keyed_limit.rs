//! A limit on what each key has at once, such as the connections of an address.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;

/// How many permits each key has. Keys without permits take no memory.
type Counts<K> = Arc<Mutex<HashMap<K, usize>>>;

/// Limits how many permits each key has at once. Clones share the permits.
#[derive(Debug, Clone)]
pub struct KeyedLimit<K: Hash + Eq> {
    /// 0: no limit.
    max: usize,
    counts: Counts<K>,
}

/// A permit of one key, until it is dropped.
#[derive(Debug)]
pub struct KeyedPermit<K: Hash + Eq> {
    /// `None` without a limit.
    counted: Option<(Counts<K>, K)>,
}

impl<K: Hash + Eq> KeyedLimit<K> {
    /// Gives each key `max` permits at once; 0 means no limit.
    pub fn new(max: usize) -> Self {
        Self { max, counts: Arc::default() }
    }

    /// A permit for `key`; `None` if it has all that it gets.
    pub fn try_acquire<Q>(&self, key: &Q) -> Option<KeyedPermit<K>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        if self.max == 0 {
            return Some(KeyedPermit { counted: None });
        }
        let mut counts = self.counts.lock();
        match counts.get_mut(key) {
            Some(count) if *count >= self.max => return None,
            Some(count) => *count += 1,
            None => drop(counts.insert(key.to_owned(), 1)),
        }
        drop(counts);
        Some(KeyedPermit { counted: Some((Arc::clone(&self.counts), key.to_owned())) })
    }

    /// How many permits each key gets at once; 0: no limit.
    pub fn max(&self) -> usize {
        self.max
    }

    /// How many keys have permits; none are counted without a limit.
    pub fn keys(&self) -> usize {
        self.counts.lock().len()
    }
}

impl<K: Hash + Eq> Drop for KeyedPermit<K> {
    fn drop(&mut self) {
        let Some((counts, key)) = &self.counted else { return };
        let mut counts = counts.lock();
        if let Some(count) = counts.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_permits() {
        let limit = KeyedLimit::<String>::new(2);
        let first = limit.try_acquire("a").expect("the first");
        let second = limit.try_acquire("a").expect("the second");
        assert!(limit.try_acquire("a").is_none());
        let other = limit.try_acquire("b").expect("another key");
        assert_eq!(limit.keys(), 2);
        drop(first);
        let third = limit.try_acquire("a").expect("free again");
        drop((second, third, other));
        assert_eq!(limit.keys(), 0, "keys without permits are forgotten");
    }

    #[test]
    fn nothing_is_limited_or_counted_without_a_maximum() {
        let limit = KeyedLimit::<String>::new(0);
        let permits: Vec<_> = (0..100).map(|_| limit.try_acquire("a")).collect();
        assert!(permits.iter().all(Option::is_some));
        assert_eq!(limit.keys(), 0);
    }
}
