//! Which workers are valid for a block, and why not.

use bytes::Bytes;

use super::app::Block;
use super::steps::Verdict;
use super::worker::{Memory, WorkerStatus};

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

/// The verdict on a worker that has not been tried.
pub(super) fn verdict(block: &Block, capacity: u64, worker: &WorkerStatus) -> Verdict {
    if worker.draining {
        return Verdict::Draining;
    }
    if block.max_concurrent_invocations.is_some_and(|max| worker.running >= max) {
        return Verdict::Busy { running: worker.running };
    }
    // Unknown memory is enough for any capacity, but the percentage in use is unknown, too.
    match (worker.memory, block.capacity_used) {
        (Some(Memory { available, .. }), _) if capacity > available => {
            return Verdict::NotEnoughMemory { available };
        }
        (Some(memory), Some(limit)) if !is_within(capacity, memory, limit) => {
            return Verdict::Full { percent: percent(capacity, memory) };
        }
        (None, Some(_)) => return Verdict::MemoryUnknown,
        _ => {}
    }
    let has = |tag: &str| worker.tags.iter().any(|running| **running == *tag);
    match block.affinity.iter().zip(0..).find(|(term, _)| has(&term.tag) != term.wanted) {
        Some((_, term)) => Verdict::Affinity { term },
        None => Verdict::Valid { available: worker.memory.map(|memory| memory.available) },
    }
}

/// Whether at most `limit` percent of the memory would be in use.
#[inline(always)]
pub(super) fn is_within(capacity: u64, memory: Memory, limit: u8) -> bool {
    let (used, total) = (used(capacity, memory), memory.total);
    match used.checked_mul(100).zip(total.checked_mul(limit.into())) {
        Some((used, limit)) => used <= limit,
        None => u128::from(used) * 100 <= u128::from(total) * u128::from(limit),
    }
}

/// The percentage of the memory that would be in use, rounded up.
#[inline(always)]
pub(super) fn percent(capacity: u64, memory: Memory) -> u32 {
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
