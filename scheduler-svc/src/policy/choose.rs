//! The choice of a worker by a script, and the steps that led to it.

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use rand::{Rng, RngExt as _};

use super::app::{Affinity, Block, DEFAULT_TAG, Followup, Item, Script, Strategy, Workers};
use super::worker::{Memory, Worker};

/// What asks for a worker.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The function's tag.
    pub tag: &'a str,
    /// The memory to reserve, in bytes.
    pub capacity: u64,
    /// The hash of the function's code.
    pub code: &'a Bytes,
}

/// A choice, with the steps that led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The worker, by its index, or why there is none.
    pub outcome: Outcome,
    /// What was found of each worker that was looked at, in that order.
    pub steps: Vec<Step>,
}

/// A worker by its index, or why there is none.
pub type Outcome = Result<u32, Refusal>;

/// Why no worker was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There are none that take work.
    NoWorkers,
    /// The script says nothing about the tag and has no default.
    NoMatchingTag,
    /// No block gives one.
    NoValidWorkers,
}

impl Refusal {
    /// What clients call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoWorkers => "no_workers",
            Self::NoMatchingTag => "no_matching_tag",
            Self::NoValidWorkers => "no_valid_workers",
        }
    }
}

/// One worker that was looked at for one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Which item the block is of.
    pub item: ItemUse,
    /// The block's index in its item.
    pub block: u16,
    /// The worker's index.
    pub worker: u32,
    /// What was found.
    pub verdict: Verdict,
}

/// Why an item is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemUse {
    /// It is the function's own, or the default in its place.
    Own,
    /// No block of the function's own gave a worker.
    Followup,
}

/// What was found of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may be chosen.
    Valid {
        /// Bytes that can be reserved there; `None`: unknown.
        available: Option<u64>,
    },
    /// It takes nothing new.
    Draining,
    /// An attempt on it has failed for this invocation.
    Tried,
    /// It has less memory than is to be reserved.
    NotEnoughMemory {
        /// In bytes.
        available: u64,
    },
    /// It runs as many as the block allows.
    Busy {
        /// So many.
        running: u32,
    },
    /// More of its memory would be in use than the block allows.
    Full {
        /// So much, in percent, rounded up.
        percent: u32,
    },
    /// How much of its memory would be in use cannot be said.
    MemoryUnknown,
    /// The term of the block's affinity with this index does not hold.
    Affinity {
        /// The index.
        term: u32,
    },
}

/// Chooses one of `workers`, which are in order of name, as `script` says. Those named in `tried` are
/// not valid any more.
pub fn choose(
    script: &Script,
    ask: &Ask<'_>,
    workers: &[Worker],
    tried: &[String],
    rng: &mut impl Rng,
) -> Choice {
    let mut walk = Walk { ask, workers, tried, rng, valid: Vec::new(), steps: Vec::new() };
    let outcome = walk.script(script);
    Choice { outcome, steps: walk.steps }
}

struct Walk<'a, R> {
    ask: &'a Ask<'a>,
    workers: &'a [Worker],
    tried: &'a [String],
    rng: &'a mut R,
    /// The valid candidates of the block that is looked at.
    valid: Vec<u32>,
    steps: Vec<Step>,
}

impl<R: Rng> Walk<'_, R> {
    fn script(&mut self, script: &Script) -> Outcome {
        if self.workers.iter().all(|worker| worker.draining) {
            return Err(Refusal::NoWorkers);
        }
        let item = script.item_for(self.ask.tag).ok_or(Refusal::NoMatchingTag)?;
        if let Some(worker) = self.item(item, ItemUse::Own) {
            return Ok(worker);
        }
        // The default's own followup is not followed.
        let followup = match item.followup {
            Followup::Default if item.tag != DEFAULT_TAG => script.item(DEFAULT_TAG),
            Followup::Default | Followup::Fail => None,
        };
        followup.and_then(|item| self.item(item, ItemUse::Followup)).ok_or(Refusal::NoValidWorkers)
    }

    fn item(&mut self, item: &Item, used: ItemUse) -> Option<u32> {
        item.blocks.iter().zip(0..).find_map(|(block, index)| self.block(block, index, used))
    }

    fn block(&mut self, block: &Block, index: u16, used: ItemUse) -> Option<u32> {
        self.valid.clear();
        match &block.workers {
            Workers::All => {
                for worker in (0..).take(self.workers.len()) {
                    if self.look(block, index, used, worker) {
                        break;
                    }
                }
            }
            Workers::Named(names) => {
                for named in names {
                    let worker = index_of(self.workers, &named.name);
                    if worker.is_some_and(|worker| self.look(block, index, used, worker)) {
                        break;
                    }
                }
            }
        }
        match block.strategy {
            Strategy::BestFirst => self.valid.first().copied(),
            Strategy::Random if self.valid.is_empty() => None,
            Strategy::Random => Some(self.valid[self.rng.random_range(0..self.valid.len())]),
            Strategy::Platform => self.most_available(),
        }
    }

    /// Looks at one candidate. True: no other one has to be looked at.
    fn look(&mut self, block: &Block, index: u16, used: ItemUse, worker: u32) -> bool {
        let verdict = self.verdict(block, &self.workers[worker as usize]);
        self.steps.push(Step { item: used, block: index, worker, verdict });
        if !matches!(verdict, Verdict::Valid { .. }) {
            return false;
        }
        self.valid.push(worker);
        block.strategy == Strategy::BestFirst
    }

    /// Of the valid candidates the one with the most memory available; among equals one that is warm,
    /// then the least busy, then the first by name.
    fn most_available(&self) -> Option<u32> {
        let of = |index: u32| &self.workers[index as usize];
        let most = self.valid.iter().map(|&index| of(index).available()).max()?;
        let equals = self.valid.iter().copied().filter(|&index| of(index).available() == most);
        equals.min_by_key(|&index| {
            let worker = of(index);
            (!worker.warm.contains(self.ask.code), worker.running, index)
        })
    }

    fn verdict(&self, block: &Block, worker: &Worker) -> Verdict {
        if worker.draining {
            return Verdict::Draining;
        }
        if self.tried.iter().any(|tried| **tried == *worker.name) {
            return Verdict::Tried;
        }
        if block.max_concurrent_invocations.is_some_and(|most| worker.running >= most) {
            return Verdict::Busy { running: worker.running };
        }
        if let Some(verdict) = self.memory_verdict(block, worker.memory) {
            return verdict;
        }
        let holds = |term: &Affinity| (worker.tags.of(&term.tag) > 0) == term.wanted;
        match block.affinity.iter().zip(0..).find(|(term, _)| !holds(term)) {
            Some((_, term)) => Verdict::Affinity { term },
            None => Verdict::Valid { available: worker.memory.map(|memory| memory.available) },
        }
    }

    /// What is wrong with a worker's memory. Unknown memory is enough, and of no known percentage.
    fn memory_verdict(&self, block: &Block, memory: Option<Memory>) -> Option<Verdict> {
        let Some(Memory { total, available }) = memory else {
            return block.capacity_used.map(|_| Verdict::MemoryUnknown);
        };
        if self.ask.capacity > available {
            return Some(Verdict::NotEnoughMemory { available });
        }
        let limit = block.capacity_used?;
        let used = u128::from(total.saturating_sub(available)) + u128::from(self.ask.capacity);
        if used * 100 <= u128::from(total) * u128::from(limit) {
            return None;
        }
        let percent = (used * 100).div_ceil(u128::from(total.max(1)));
        Some(Verdict::Full { percent: u32::try_from(percent).unwrap_or(u32::MAX) })
    }
}

/// The index of the worker of this name.
fn index_of(workers: &[Worker], name: &str) -> Option<u32> {
    let index = workers.binary_search_by(|worker| (*worker.name).cmp(name)).ok()?;
    u32::try_from(index).ok()
}
