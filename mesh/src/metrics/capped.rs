//! Labels with values that users choose, such as names of functions.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::RwLock;

/// The label of all values that have no series of their own.
pub const OTHER: &str = "other";

/// The values of a label that have a series of their own: the first ones seen, up to a limit. Clones share
/// them.
#[derive(Debug, Clone)]
pub struct Capped {
    max: usize,
    taken: Arc<RwLock<HashSet<String>>>,
}

impl Capped {
    /// Starts empty and admits at most `max` values.
    pub fn new(max: usize) -> Self {
        Self { max, taken: Arc::default() }
    }

    /// The label to use for `value`: the value itself, or [`OTHER`] if the limit is reached.
    pub fn label<'a>(&self, value: &'a str) -> &'a str {
        if self.taken.read().contains(value) {
            return value;
        }
        let mut taken = self.taken.write();
        if taken.contains(value) {
            return value;
        }
        if taken.len() >= self.max {
            return OTHER;
        }
        taken.insert(value.to_owned());
        value
    }

    /// If the limit is reached, drops the values that are not alive and returns them: their series can be
    /// removed. Below the limit nothing is dropped, since the last values of those series may not have been
    /// scraped yet.
    pub fn make_room(&self, is_alive: impl Fn(&str) -> bool) -> Vec<String> {
        let mut taken = self.taken.write();
        if taken.len() < self.max {
            return Vec::new();
        }
        taken.extract_if(|value| !is_alive(value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_over_the_limit_share_a_label() {
        let capped = Capped::new(2);
        for (value, expected) in [("a", "a"), ("b", "b"), ("c", OTHER), ("a", "a"), ("c", OTHER)] {
            assert_eq!(capped.label(value), expected, "{value}");
        }
        assert_eq!(Capped::new(0).label("a"), OTHER);
    }

    #[test]
    fn dead_values_are_dropped_only_at_the_limit() {
        let capped = Capped::new(2);
        capped.label("gone");
        assert!(capped.make_room(|_| false).is_empty(), "below the limit");
        capped.label("alive");
        assert_eq!(capped.label("new"), OTHER);
        assert!(capped.make_room(|_| true).is_empty(), "every value is alive");
        assert_eq!(capped.make_room(|value| value == "alive"), ["gone"]);
        for (value, expected) in [("new", "new"), ("alive", "alive"), ("gone", OTHER)] {
            assert_eq!(capped.label(value), expected, "{value}");
        }
    }

    #[test]
    fn concurrent_use_stays_within_the_limit() {
        let capped = Capped::new(10);
        let labels: HashSet<String> = std::thread::scope(|threads| {
            let of = |thread: usize| {
                let capped = capped.clone();
                threads.spawn(move || {
                    let values = (0..100).map(|number| format!("{thread}-{number}"));
                    values.map(|value| capped.label(&value).to_owned()).collect::<Vec<_>>()
                })
            };
            let threads: Vec<_> = (0..4).map(of).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
        });
        assert_eq!(labels.len(), 11, "{labels:?}");
        assert!(labels.contains(OTHER));
    }
}
