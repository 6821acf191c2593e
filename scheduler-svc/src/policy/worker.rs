//! What policies know of a worker.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

/// A worker as policies see it.
#[derive(Debug, Clone)]
pub struct Worker {
    /// What scripts call it.
    pub name: Arc<str>,
    /// Its memory, with what is reserved for what runs taken off. `None`: unknown.
    pub memory: Option<Memory>,
    /// Invocations that run there, whoever sent them.
    pub running: u32,
    /// It takes nothing new.
    pub draining: bool,
    /// What makes up `running`, by the functions' tags.
    pub tags: TagCounts,
    /// Hashes of the code that is prepared there.
    pub warm: HashSet<Bytes>,
}

/// Memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// What functions may use in all.
    pub total: u64,
    /// What of it can still be reserved.
    pub available: u64,
}

impl Worker {
    /// A worker on which nothing runs.
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

    /// What can be reserved, in bytes. Unknown memory counts as none.
    pub fn available(&self) -> u64 {
        self.memory.map_or(0, |memory| memory.available)
    }
}

/// How many invocations run, by the tag of their function. The few tags of one worker: a list is faster
/// than a map.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagCounts(Vec<(Arc<str>, u32)>);

impl TagCounts {
    /// Those whose function has this tag.
    pub fn of(&self, tag: &str) -> u32 {
        self.0.iter().find(|(known, _)| **known == *tag).map_or(0, |(_, count)| *count)
    }

    /// Adds `count` of them.
    pub fn add(&mut self, tag: &str, count: u32) {
        match self.0.iter_mut().find(|(known, _)| **known == *tag) {
            Some((_, known)) => *known += count,
            None if count > 0 => self.0.push((tag.into(), count)),
            None => {}
        }
    }

    /// Takes one of them off.
    pub fn remove_one(&mut self, tag: &str) {
        let Some(index) = self.0.iter().position(|(known, _)| **known == *tag) else { return };
        self.0[index].1 -= 1;
        if self.0[index].1 == 0 {
            self.0.swap_remove(index);
        }
    }

    /// Each tag of which any run.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u32)> {
        self.0.iter().map(|(tag, count)| (&**tag, *count))
    }
}
