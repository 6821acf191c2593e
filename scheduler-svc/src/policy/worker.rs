//! What policies know of a worker.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

/// Bytes in the unit of a function's capacity.
pub const KB: u64 = 1024;

/// A worker as policies see it.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Its name in scripts.
    pub name: Arc<str>,
    /// Its memory. `None`: unknown.
    pub memory: Option<Memory>,
    /// The invocations that run there, of all schedulers.
    pub running: u32,
    /// It accepts no new invocations.
    pub draining: bool,
    /// `running` by the tags of the functions.
    pub tags: TagCounts,
    /// The hashes of the code that is prepared there.
    pub warm: HashSet<Bytes>,
}

/// What decides whether a worker is valid. Cheap to clone: past ones are remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkerStatus {
    /// Its memory. `None`: unknown.
    pub memory: Option<Memory>,
    /// The invocations that run there.
    pub running: u32,
    /// It accepts no new invocations.
    pub draining: bool,
    /// The tags of what runs there.
    pub tags: Tags,
}

/// Tags, each once.
pub type Tags = Arc<[Arc<str>]>;

/// Memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// The memory for functions.
    pub total: u64,
    /// The part of it that can still be reserved.
    pub available: u64,
}

impl Worker {
    /// A worker that runs nothing.
    pub fn new(name: &str, memory: Option<Memory>) -> Self {
        Self {
            name: name.into(),
            memory,
            running: 0,
            draining: false,
            tags: TagCounts::default(),
            warm: HashSet::new(),
        }
    }

    /// The memory that can be reserved, in bytes; 0 if unknown.
    #[inline]
    pub fn available(&self) -> u64 {
        self.memory.map_or(0, |memory| memory.available)
    }

    /// What decides whether it is valid.
    pub fn status(&self) -> WorkerStatus {
        let Self { memory, running, draining, ref tags, .. } = *self;
        WorkerStatus { memory, running, draining, tags: Arc::clone(tags.present()) }
    }
}

/// Running invocations by the tag of their function. A worker runs few tags, so a list is faster than a map.
#[derive(Debug, Clone, Default)]
pub struct TagCounts {
    /// None of them is zero.
    counts: Vec<(Arc<str>, u32)>,
    /// The tags, shared by all who remember them. Made on demand.
    present: OnceLock<Tags>,
}

impl TagCounts {
    /// The number of invocations with this tag.
    pub fn of(&self, tag: &str) -> u32 {
        self.counts.iter().find(|(known, _)| **known == *tag).map_or(0, |(_, count)| *count)
    }

    /// Whether any invocation has this tag.
    pub fn has(&self, tag: &str) -> bool {
        self.of(tag) > 0
    }

    /// Adds `count` invocations with this tag.
    pub fn add(&mut self, tag: &str, count: u32) {
        match self.counts.iter_mut().find(|(known, _)| **known == *tag) {
            Some((_, known)) => *known += count,
            None if count > 0 => {
                self.counts.push((tag.into(), count));
                self.present.take();
            }
            None => {}
        }
    }

    /// Removes one invocation with this tag.
    pub fn remove_one(&mut self, tag: &str) {
        let Some(index) = self.counts.iter().position(|(known, _)| **known == *tag) else { return };
        self.counts[index].1 -= 1;
        if self.counts[index].1 == 0 {
            self.counts.swap_remove(index);
            self.present.take();
        }
    }

    /// The tags with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u32)> {
        self.counts.iter().map(|(tag, count)| (&**tag, *count))
    }

    /// The tags.
    pub fn present(&self) -> &Tags {
        self.present.get_or_init(|| self.counts.iter().map(|(tag, _)| Arc::clone(tag)).collect())
    }

    /// Whether both have the same tags, in any numbers.
    pub fn has_tags_of(&self, other: &Self) -> bool {
        self.counts.len() == other.counts.len() && self.counts.iter().all(|(tag, _)| other.has(tag))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn tags_are_counted_as_a_map_counts_them(
            changes in prop::collection::vec(("[ab\0]{0,3}|[ab]{14,17}", 0..3_u32, any::<bool>()), 0..60),
        ) {
            let mut expected = std::collections::BTreeMap::<String, u32>::new();
            let mut counts = TagCounts::default();
            for (tag, count, is_added) in &changes {
                let (before, known) = (counts.clone(), expected.entry(tag.clone()).or_default());
                if *is_added {
                    counts.add(tag, *count);
                    *known += count;
                } else {
                    counts.remove_one(tag);
                    *known = known.saturating_sub(1);
                }
                for (tag, count) in &expected {
                    prop_assert_eq!(counts.of(tag), *count);
                    prop_assert_eq!(counts.has(tag), *count > 0, "{:?}", tag);
                }
                let mut listed: Vec<_> = counts.iter().collect();
                listed.sort();
                let running: Vec<_> = expected.iter().filter(|(_, count)| **count > 0).collect();
                prop_assert_eq!(&listed, &running.iter().map(|(tag, count)| (tag.as_str(), **count)).collect::<Vec<_>>());
                let mut present: Vec<_> = counts.present().iter().map(|tag| &**tag).collect();
                present.sort();
                prop_assert_eq!(present, running.iter().map(|(tag, _)| tag.as_str()).collect::<Vec<_>>());
                let same = before.iter().all(|(tag, _)| counts.has(tag)) && counts.iter().all(|(tag, _)| before.has(tag));
                prop_assert_eq!(counts.has_tags_of(&before), same);
            }
        }
    }
}
