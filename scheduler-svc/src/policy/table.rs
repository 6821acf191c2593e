//! The workers that a choice is made among, with what makes it fast: columns, sets of workers, and an index by
//! available memory. A choice looks only at the workers that these do not exclude.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::bitset::{Bitset, WORD, words_for};
use super::memory_index::{FAN_OUT, Key, MemoryIndex};
use super::rule::percent;
use super::worker::{Memory, TagCounts, Worker};

/// Workers, ordered by name.
#[derive(Debug, Default)]
pub struct WorkerTable {
    workers: Vec<Worker>,
    /// The workers that do not drain.
    pub(super) accepting: Bitset,
    /// The workers with unknown memory.
    pub(super) unknown: Bitset,
    // Columns, padded to whole words of the sets.
    /// The available memory, in bytes; 0 if unknown.
    pub(super) available: Vec<u64>,
    /// The number of running invocations.
    pub(super) running: Vec<u32>,
    /// The percentage of the memory that is in use, rounded up.
    pub(super) percent_used: Vec<u8>,
    /// The workers that run something with a tag. No set is empty.
    tags: HashMap<Arc<str>, Bitset>,
    pub(super) by_memory: MemoryIndex,
    /// The index of each worker by its name. Made on demand: when many workers join, nobody needs it in between.
    positions: OnceLock<HashMap<Arc<str>, u32>>,
}

/// The new state of a worker.
#[derive(Debug)]
pub struct Update<'a> {
    /// Its memory.
    pub memory: Option<Memory>,
    /// The invocations that run there.
    pub running: u32,
    /// It accepts no new invocations.
    pub draining: bool,
    /// How the counts of tags change.
    pub tags: TagUpdate<'a>,
}

/// How the counts of a worker's tags change.
#[derive(Debug)]
pub enum TagUpdate<'a> {
    /// Not at all.
    Keep,
    /// One more invocation has this tag.
    Add(&'a str),
    /// One invocation with this tag has ended.
    Remove(&'a str),
    /// These count from now on.
    Replace(TagCounts),
}

impl TagUpdate<'_> {
    /// Whether other tags will be present.
    pub fn changes(&self, tags: &TagCounts) -> bool {
        match self {
            Self::Keep => false,
            Self::Add(tag) => !tags.has(tag),
            Self::Remove(tag) => tags.of(tag) == 1,
            Self::Replace(new) => !new.has_tags_of(tags),
        }
    }
}

impl WorkerTable {
    /// The workers, ordered by name.
    pub fn workers(&self) -> &[Worker] {
        &self.workers
    }

    /// The index of the worker with this name, or where it would be inserted.
    pub fn find(&self, name: &str) -> Result<usize, usize> {
        self.workers.binary_search_by(|worker| (*worker.name).cmp(name))
    }

    /// The index of the worker with this name. Faster than [`Self::find`] while workers neither join nor leave.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        let by_name =
            || (0..).zip(&self.workers).map(|(index, worker)| (Arc::clone(&worker.name), index)).collect();
        self.positions.get_or_init(by_name).get(name).map(|index| *index as usize)
    }

    /// Inserts a worker where [`Self::find`] says.
    pub fn insert(&mut self, index: usize, worker: Worker) {
        self.workers.insert(index, worker);
        let workers = self.workers.len();
        let sets = [&mut self.accepting, &mut self.unknown].into_iter().chain(self.tags.values_mut());
        sets.for_each(|set| set.insert(index, workers));
        insert_padded(&mut self.available, index, workers);
        insert_padded(&mut self.running, index, workers);
        insert_padded(&mut self.percent_used, index, workers);
        let worker = &self.workers[index];
        for (tag, _) in worker.tags.iter() {
            set_tag(&mut self.tags, tag, index, workers, true);
        }
        self.refresh(index);
        self.rebuild();
    }

    /// Removes a worker.
    pub fn remove(&mut self, index: usize) -> Worker {
        let worker = self.workers.remove(index);
        let workers = self.workers.len();
        self.tags.retain(|_, set| {
            set.remove(index, workers);
            !set.is_empty()
        });
        self.accepting.remove(index, workers);
        self.unknown.remove(index, workers);
        remove_padded(&mut self.available, index, workers);
        remove_padded(&mut self.running, index, workers);
        remove_padded(&mut self.percent_used, index, workers);
        self.rebuild();
        worker
    }

    /// Changes a worker.
    pub fn update(&mut self, index: usize, Update { memory, running, draining, tags }: Update<'_>) {
        let workers = self.workers.len();
        let worker = &mut self.workers[index];
        match tags {
            TagUpdate::Keep => {}
            TagUpdate::Add(tag) => {
                if !worker.tags.has(tag) {
                    set_tag(&mut self.tags, tag, index, workers, true);
                }
                worker.tags.add(tag, 1);
            }
            TagUpdate::Remove(tag) => {
                worker.tags.remove_one(tag);
                if !worker.tags.has(tag) {
                    set_tag(&mut self.tags, tag, index, workers, false);
                }
            }
            TagUpdate::Replace(new) => {
                let old = std::mem::replace(&mut worker.tags, new);
                for (tag, _) in old.iter().filter(|(tag, _)| !worker.tags.has(tag)) {
                    set_tag(&mut self.tags, tag, index, workers, false);
                }
                for (tag, _) in worker.tags.iter().filter(|(tag, _)| !old.has(tag)) {
                    set_tag(&mut self.tags, tag, index, workers, true);
                }
            }
        }
        (worker.memory, worker.running, worker.draining) = (memory, running, draining);
        self.refresh(index);
        let group = index / FAN_OUT;
        self.by_memory.update(group, self.key(group));
    }

    /// The code that is prepared on a worker.
    pub fn warm_mut(&mut self, index: usize) -> &mut HashSet<Bytes> {
        &mut self.workers[index].warm
    }

    /// The workers that run something with this tag. `None`: none does.
    pub(super) fn with_tag(&self, tag: &str) -> Option<&Bitset> {
        self.tags.get(tag)
    }

    /// Updates the columns of a worker, and the sets except those of tags.
    fn refresh(&mut self, index: usize) {
        let worker = &self.workers[index];
        self.accepting.set(index, !worker.draining);
        self.unknown.set(index, worker.memory.is_none());
        self.available[index] = worker.available();
        self.running[index] = worker.running;
        let used = worker.memory.map_or(0, |memory| percent(0, memory));
        self.percent_used[index] = u8::try_from(used).unwrap_or(u8::MAX);
    }

    /// Makes what depends on the indexes of the workers.
    fn rebuild(&mut self) {
        self.positions.take();
        let keys = (0..self.workers.len().div_ceil(FAN_OUT)).map(|group| self.key(group)).collect();
        self.by_memory = MemoryIndex::new(keys);
    }

    /// The key of a group of workers.
    fn key(&self, group: usize) -> Key {
        let start = group * FAN_OUT;
        let accepting = self.accepting.lanes::<FAN_OUT>(start);
        let key = |index: usize| match accepting >> (index - start) & 1 {
            0 => Key::default(),
            _ => Key::new(self.available[index], self.running[index]),
        };
        (start..start + FAN_OUT).map(key).max().unwrap_or_default()
    }
}

/// A worker begins or ceases to run something with a tag.
fn set_tag(tags: &mut HashMap<Arc<str>, Bitset>, tag: &str, index: usize, workers: usize, is_in: bool) {
    match tags.get_mut(tag) {
        Some(set) => {
            set.set(index, is_in);
            if !is_in && set.is_empty() {
                tags.remove(tag);
            }
        }
        None if is_in => {
            let mut set = Bitset::new(workers);
            set.set(index, true);
            tags.insert(tag.into(), set);
        }
        None => {}
    }
}

/// Inserts the default into a column that then has so many workers.
fn insert_padded<T: Clone + Default>(column: &mut Vec<T>, index: usize, workers: usize) {
    column.insert(index, T::default());
    column.resize(words_for(workers) * WORD, T::default());
}

/// Removes a value from a column that then has so many workers.
fn remove_padded<T: Clone + Default>(column: &mut Vec<T>, index: usize, workers: usize) {
    column.remove(index);
    column.resize(words_for(workers) * WORD, T::default());
}

impl FromIterator<Worker> for WorkerTable {
    /// Workers in any order. Each name occurs once.
    fn from_iter<I: IntoIterator<Item = Worker>>(workers: I) -> Self {
        let mut table = Self::default();
        for worker in workers {
            let index = table.find(&worker.name).unwrap_or_else(|index| index);
            table.insert(index, worker);
        }
        table
    }
}
