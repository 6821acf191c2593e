//! Labels whose values users make up, such as the names of functions.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::RwLock;

/// What the values are called together that have no series of their own.
pub const OTHER: &str = "other";

/// The values of a label that have a series of their own: the first so many that are seen. Clones share
/// them.
#[derive(Debug, Clone)]
pub struct Capped {
    most: usize,
    taken: Arc<RwLock<HashSet<String>>>,
}

impl Capped {
    /// No value is taken yet, and at most so many will be.
    pub fn new(most: usize) -> Self {
        Self { most, taken: Arc::default() }
    }

    /// The value to use as the label: this one, or [`OTHER`] when there is no room for it.
    pub fn label<'a>(&self, value: &'a str) -> &'a str {
        if self.taken.read().contains(value) {
            return value;
        }
        let mut taken = self.taken.write();
        if taken.contains(value) {
            return value;
        }
        if taken.len() >= self.most {
            return OTHER;
        }
        taken.insert(value.to_owned());
        value
    }

    /// When all room is taken, takes it from the values that are not alive, and gives these: their series
    /// can go. As long as there is room, series stay: what they have counted last may not be scraped yet.
    pub fn make_room(&self, is_alive: impl Fn(&str) -> bool) -> Vec<String> {
        let mut taken = self.taken.write();
        if taken.len() < self.most {
            return Vec::new();
        }
        taken.extract_if(|value| !is_alive(value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_ones_have_a_label_and_the_rest_share_one() {
        let capped = Capped::new(2);
        for (value, expected) in [("a", "a"), ("b", "b"), ("c", OTHER), ("a", "a"), ("c", OTHER)] {
            assert_eq!(capped.label(value), expected, "{value}");
        }
        assert_eq!(Capped::new(0).label("a"), OTHER);
    }

    #[test]
    fn room_is_made_of_what_is_gone_and_only_when_there_is_none() {
        let capped = Capped::new(2);
        capped.label("gone");
        assert!(capped.make_room(|_| false).is_empty(), "there is room");
        capped.label("alive");
        assert_eq!(capped.label("new"), OTHER);
        assert!(capped.make_room(|_| true).is_empty(), "nothing is gone");
        assert_eq!(capped.make_room(|value| value == "alive"), ["gone"]);
        for (value, expected) in [("new", "new"), ("alive", "alive"), ("gone", OTHER)] {
            assert_eq!(capped.label(value), expected, "{value}");
        }
    }

    #[test]
    fn of_many_at_once_no_more_than_so_many_have_a_label() {
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
