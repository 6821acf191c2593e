//! What is found of a worker. Most of the time of a choice is spent here: it may look at thousands.

use bytes::Bytes;

use super::app::Block;
use super::steps::{Found, Verdict};
use super::worker::{Memory, TagKey, Worker};

/// What an invocation requires of a worker.
#[derive(Debug, Clone, Copy)]
pub struct Requirements<'a> {
    /// The function's tag.
    pub tag: &'a str,
    /// The memory to reserve, in bytes.
    pub capacity: u64,
    /// The hash of the function's code.
    pub code: &'a Bytes,
}

/// Which workers are valid for a block and an invocation.
pub(super) struct Rule<'a> {
    capacity: u64,
    tried: &'a [String],
    /// A worker that runs as many takes no more.
    most_running: u64,
    capacity_used: Option<u8>,
    /// The tags of the affinity, and whether each is wanted.
    terms: Vec<(TagKey<'a>, bool)>,
}

impl<'a> Rule<'a> {
    /// The rule of a block for an invocation. The workers named in `tried` are not valid any more.
    pub(super) fn new(block: &'a Block, requirements: &Requirements<'_>, tried: &'a [String]) -> Self {
        Self {
            capacity: requirements.capacity,
            tried,
            // More than any worker runs.
            most_running: block.max_concurrent_invocations.map_or(u64::MAX, u64::from),
            capacity_used: block.capacity_used,
            terms: block.affinity.iter().map(|term| (TagKey::new(&term.tag), term.wanted)).collect(),
        }
    }

    /// Adds what is found of each worker.
    pub(super) fn find(&self, workers: &[Worker], found: &mut Vec<Found>) {
        let start = found.len();
        let all = workers.iter();
        // Loops of their own for blocks that ask less.
        match (self.capacity_used.is_some(), !self.terms.is_empty()) {
            (false, false) => found.extend(all.map(|worker| self.found::<false, false>(worker))),
            (false, true) => found.extend(all.map(|worker| self.found::<false, true>(worker))),
            (true, false) => found.extend(all.map(|worker| self.found::<true, false>(worker))),
            (true, true) => found.extend(all.map(|worker| self.found::<true, true>(worker))),
        }
        if !self.tried.is_empty() {
            let is_tried = |worker: &Worker| self.tried.iter().any(|tried| **tried == *worker.name);
            for (worker, found) in workers.iter().zip(&mut found[start..]) {
                if !worker.draining && is_tried(worker) {
                    *found = Found::new(Verdict::Tried);
                }
            }
        }
    }

    /// What is found of a worker. It has to stay in registers: a [`Verdict`] that takes a detour through
    /// memory costs more than finding it.
    #[inline(always)]
    fn found<const LIMITED: bool, const AFFINE: bool>(&self, worker: &Worker) -> Found {
        if worker.draining {
            return Found::new(Verdict::Draining);
        }
        if u64::from(worker.running) >= self.most_running {
            return Found::new(Verdict::Busy { running: worker.running });
        }
        let limit = if LIMITED { self.capacity_used } else { None };
        // Unknown memory is enough, and of no known percentage.
        match (worker.memory, limit) {
            (Some(Memory { available, .. }), _) if self.capacity > available => {
                return Found::new(Verdict::NotEnoughMemory { available });
            }
            (Some(memory), Some(limit)) if !is_within(self.capacity, memory, limit) => {
                return Found::new(Verdict::Full { percent: percent(self.capacity, memory) });
            }
            (None, Some(_)) => return Found::new(Verdict::MemoryUnknown),
            _ => {}
        }
        if AFFINE && let Some(term) = self.failing_term(worker) {
            return Found::new(Verdict::Affinity { term });
        }
        Found::new(Verdict::Valid { available: worker.memory.map(|memory| memory.available) })
    }

    /// The index of the first term of the affinity that does not hold.
    #[inline(always)]
    fn failing_term(&self, worker: &Worker) -> Option<u32> {
        let fails = |(tag, wanted): &(TagKey<'_>, bool)| worker.tags.has(tag) != *wanted;
        self.terms.iter().zip(0..).find(|(term, _)| fails(term)).map(|(_, index)| index)
    }
}

/// Whether at most so much of the memory would be in use, in percent.
#[inline(always)]
fn is_within(capacity: u64, memory: Memory, limit: u8) -> bool {
    let (used, total) = (used(capacity, memory), memory.total);
    match used.checked_mul(100).zip(total.checked_mul(limit.into())) {
        Some((used, limit)) => used <= limit,
        None => u128::from(used) * 100 <= u128::from(total) * u128::from(limit),
    }
}

/// How much of the memory would be in use, in percent, rounded up.
#[inline(always)]
fn percent(capacity: u64, memory: Memory) -> u32 {
    let (used, total) = (used(capacity, memory), memory.total.max(1));
    let percent = match used.checked_mul(100) {
        Some(hundredfold) => hundredfold.div_ceil(total).into(),
        None => (u128::from(used) * 100).div_ceil(total.into()),
    };
    u32::try_from(percent).unwrap_or(u32::MAX)
}

/// What would be in use, in bytes.
#[inline(always)]
fn used(capacity: u64, Memory { total, available }: Memory) -> u64 {
    // Where it matters the capacity is at most what is available, and the sum at most the total.
    total.saturating_sub(available).saturating_add(capacity)
}
