//! The steps of a choice: the verdict on each worker that was considered. Not recorded with the choice, but found
//! again when somebody asks for them.

use std::collections::HashMap;
use std::sync::Arc;

use super::app::{Block, Script, Strategy, Workers};
use super::choose::Choice;
use super::rule::verdict;
use super::worker::WorkerStatus;

/// The workers of a choice as they were.
#[derive(Debug, Clone, Copy)]
pub struct PastWorkers<'a> {
    /// Their names, in order.
    pub names: &'a [Arc<str>],
    /// Their status, in the same order.
    pub statuses: &'a [WorkerStatus],
}

/// One worker that was considered for one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The item of the block.
    pub item: ItemUse,
    /// The block's index in its item.
    pub block: u16,
    /// The worker's index.
    pub worker: u32,
    /// The verdict on it.
    pub verdict: Verdict,
}

/// Why an item was evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ItemUse {
    /// It is the item for the function's tag, which may be the default.
    Own,
    /// It is the followup of that item.
    Followup,
}

/// Whether a worker is valid for a block, or why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is valid.
    Valid {
        /// The memory that can be reserved there, in bytes; `None`: unknown.
        available: Option<u64>,
    },
    /// It drains.
    Draining,
    /// An earlier attempt of this invocation failed there.
    Tried,
    /// It has less memory available than the capacity.
    NotEnoughMemory {
        /// The memory available, in bytes.
        available: u64,
    },
    /// It runs as many invocations as the block allows.
    Busy {
        /// The number of invocations.
        running: u32,
    },
    /// More of its memory would be in use than `capacity_used` allows.
    Full {
        /// The percentage, rounded up.
        percent: u32,
    },
    /// The block limits `capacity_used`, and the worker's memory is unknown.
    MemoryUnknown,
    /// A term of the block's affinity does not hold.
    Affinity {
        /// The index of the term.
        term: u32,
    },
}

/// The steps that led to `choice` for a function with this tag and capacity in bytes, in order. The workers named in `tried` were not valid.
pub fn steps(
    script: &Script,
    tag: &str,
    capacity: u64,
    workers: PastWorkers<'_>,
    tried: &[String],
    choice: &Choice,
) -> Vec<Step> {
    let positions = workers.names.iter().zip(0..).map(|(name, index)| (&**name, index)).collect();
    let replay = Replay { capacity, workers, positions, tried, choice };
    let mut steps = Vec::new();
    for (item, used) in choice.items(script, tag) {
        for (block, index) in item.blocks.iter().zip(0..) {
            let is_last = choice.block == Some((used, index));
            let verdicts = replay.block(block, is_last);
            steps.extend(verdicts.map(|(worker, verdict)| Step {
                item: used,
                block: index,
                worker,
                verdict,
            }));
            if is_last {
                return steps;
            }
        }
    }
    steps
}

/// A choice that is made again.
struct Replay<'a> {
    capacity: u64,
    workers: PastWorkers<'a>,
    positions: HashMap<&'a str, u32>,
    tried: &'a [String],
    choice: &'a Choice,
}

impl Replay<'_> {
    /// The verdicts on the workers that were considered for a block. `is_last`: it gave the worker.
    fn block(&self, block: &Block, is_last: bool) -> impl Iterator<Item = (u32, Verdict)> {
        let candidates: Vec<u32> = match &block.workers {
            Workers::All => (0..).take(self.workers.names.len()).collect(),
            Workers::Named(names) => {
                names.iter().filter_map(|named| self.positions.get(&*named.name).copied()).collect()
            }
        };
        // Of `best-first`, no worker after the chosen one was considered.
        let ends_with = self.choice.outcome.ok().filter(|_| is_last && block.strategy == Strategy::BestFirst);
        let end = ends_with.and_then(|chosen| candidates.iter().position(|worker| *worker == chosen));
        let considered = end.map_or(candidates.len(), |end| end + 1);
        candidates.into_iter().take(considered).map(|worker| (worker, self.verdict(block, worker)))
    }

    fn verdict(&self, block: &Block, worker: u32) -> Verdict {
        let (name, status) = (&self.workers.names[worker as usize], &self.workers.statuses[worker as usize]);
        if !status.draining && self.tried.iter().any(|tried| **tried == **name) {
            return Verdict::Tried;
        }
        verdict(block, self.capacity, status)
    }
}
