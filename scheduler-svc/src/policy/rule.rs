//! Which workers are valid for a block. Choices spend most of their time here: they may consider thousands of
//! workers.

use bytes::Bytes;

use super::app::Block;
use super::steps::{PackedVerdict, Verdict};
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
    /// A worker that runs as many invocations is not valid.
    most_running: u64,
    capacity_used: Option<u8>,
    /// The tags of the affinity, and whether each is wanted.
    terms: Vec<(TagKey<'a>, bool)>,
}

impl<'a> Rule<'a> {
    /// The rule of a block for an invocation. The workers named in `tried` are not valid.
    pub(super) fn new(block: &'a Block, requirements: &Requirements<'_>, tried: &'a [String]) -> Self {
        Self {
            capacity: requirements.capacity,
            tried,
            // No worker runs as many.
            most_running: block.max_concurrent_invocations.map_or(u64::MAX, u64::from),
            capacity_used: block.capacity_used,
            terms: block.affinity.iter().map(|term| (TagKey::new(&term.tag), term.wanted)).collect(),
        }
    }

    /// Appends the verdict on each worker.
    pub(super) fn evaluate(&self, workers: &[Worker], verdicts: &mut Vec<PackedVerdict>) {
        let start = verdicts.len();
        let all = workers.iter();
        // Separate loops for blocks without limit or affinity.
        match (self.capacity_used.is_some(), !self.terms.is_empty()) {
            (false, false) => verdicts.extend(all.map(|worker| self.verdict::<false, false>(worker))),
            (false, true) => verdicts.extend(all.map(|worker| self.verdict::<false, true>(worker))),
            (true, false) => verdicts.extend(all.map(|worker| self.verdict::<true, false>(worker))),
            (true, true) => verdicts.extend(all.map(|worker| self.verdict::<true, true>(worker))),
        }
        if !self.tried.is_empty() {
            let is_tried = |worker: &Worker| self.tried.iter().any(|tried| **tried == *worker.name);
            for (worker, verdict) in workers.iter().zip(&mut verdicts[start..]) {
                if !worker.draining && is_tried(worker) {
                    *verdict = PackedVerdict::new(Verdict::Tried);
                }
            }
        }
    }

    /// The verdict on a worker. It has to stay in registers: a [`Verdict`] that is spilled to memory costs
    /// more than the evaluation.
    #[inline(always)]
    fn verdict<const LIMITED: bool, const AFFINE: bool>(&self, worker: &Worker) -> PackedVerdict {
        if worker.draining {
            return PackedVerdict::new(Verdict::Draining);
        }
        if u64::from(worker.running) >= self.most_running {
            return PackedVerdict::new(Verdict::Busy { running: worker.running });
        }
        let limit = if LIMITED { self.capacity_used } else { None };
        // Unknown memory is enough for any capacity, but the percentage in use is unknown, too.
        match (worker.memory, limit) {
            (Some(Memory { available, .. }), _) if self.capacity > available => {
                return PackedVerdict::new(Verdict::NotEnoughMemory { available });
            }
            (Some(memory), Some(limit)) if !is_within(self.capacity, memory, limit) => {
                return PackedVerdict::new(Verdict::Full { percent: percent(self.capacity, memory) });
            }
            (None, Some(_)) => return PackedVerdict::new(Verdict::MemoryUnknown),
            _ => {}
        }
        if AFFINE && let Some(term) = self.failing_term(worker) {
            return PackedVerdict::new(Verdict::Affinity { term });
        }
        PackedVerdict::new(Verdict::Valid { available: worker.memory.map(|memory| memory.available) })
    }

    /// The index of the first term of the affinity that does not hold.
    #[inline(always)]
    fn failing_term(&self, worker: &Worker) -> Option<u32> {
        let fails = |(tag, wanted): &(TagKey<'_>, bool)| worker.tags.has(tag) != *wanted;
        self.terms.iter().zip(0..).find(|(term, _)| fails(term)).map(|(_, index)| index)
    }
}

/// Whether at most `limit` percent of the memory would be in use.
#[inline(always)]
fn is_within(capacity: u64, memory: Memory, limit: u8) -> bool {
    let (used, total) = (used(capacity, memory), memory.total);
    match used.checked_mul(100).zip(total.checked_mul(limit.into())) {
        Some((used, limit)) => used <= limit,
        None => u128::from(used) * 100 <= u128::from(total) * u128::from(limit),
    }
}

/// The percentage of the memory that would be in use, rounded up.
#[inline(always)]
fn percent(capacity: u64, memory: Memory) -> u32 {
    let (used, total) = (used(capacity, memory), memory.total.max(1));
    let percent = match used.checked_mul(100) {
        Some(hundredfold) => hundredfold.div_ceil(total).into(),
        None => (u128::from(used) * 100).div_ceil(total.into()),
    };
    u32::try_from(percent).unwrap_or(u32::MAX)
}

/// The memory that would be in use, in bytes.
#[inline(always)]
fn used(capacity: u64, Memory { total, available }: Memory) -> u64 {
    // Where it matters, the capacity is available, so that the sum is at most the total.
    total.saturating_sub(available).saturating_add(capacity)
}
