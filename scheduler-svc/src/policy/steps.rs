//! The steps of a choice: the verdict on each worker that was considered.

use std::fmt;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// Steps in order. A choice among thousands of workers has thousands of steps, and thousands of choices are
/// remembered, so a step takes 8 bytes here.
#[derive(Clone, Default)]
pub struct Steps {
    runs: Vec<Run>,
    verdicts: Vec<PackedVerdict>,
}

/// Steps for one block and consecutive workers.
#[derive(Debug, Clone, Copy)]
struct Run {
    item: ItemUse,
    block: u16,
    /// The first worker's index.
    worker: usize,
    /// The index of the first step.
    start: usize,
}

/// A verdict in 8 bytes: its kind in the lowest bits, its number in the others.
#[derive(Clone, Copy)]
pub(super) struct PackedVerdict(u64);

impl Steps {
    /// The number of steps.
    pub fn len(&self) -> usize {
        self.verdicts.len()
    }

    /// Whether there are no steps.
    pub fn is_empty(&self) -> bool {
        self.verdicts.is_empty()
    }

    /// The last step: if a worker was chosen, the block in which.
    pub fn last(&self) -> Option<Step> {
        let index = self.verdicts.len().checked_sub(1)?;
        let run = self.runs.iter().rev().find(|run| run.start <= index)?;
        Some(run.step(index, self.verdicts[index]))
    }

    /// All steps.
    pub fn iter(&self) -> impl Iterator<Item = Step> {
        let ends = self.runs.iter().skip(1).map(|run| run.start).chain([self.verdicts.len()]);
        self.runs.iter().zip(ends).flat_map(|(run, end)| {
            let verdicts = self.verdicts.get(run.start..end).unwrap_or_default();
            (run.start..).zip(verdicts).map(|(index, verdict)| run.step(index, *verdict))
        })
    }

    /// The memory that the steps take, in bytes.
    pub fn bytes(&self) -> usize {
        size_of_val(self.runs.as_slice()) + size_of_val(self.verdicts.as_slice())
    }

    /// Makes room for so many more.
    pub(super) fn reserve(&mut self, more: usize) {
        self.verdicts.reserve(more);
    }

    /// Begins the steps for a block, at consecutive workers from this one on. Append their verdicts.
    pub(super) fn begin_run(&mut self, item: ItemUse, block: u16, worker: usize) -> &mut Vec<PackedVerdict> {
        self.runs.push(Run { item, block, worker, start: self.verdicts.len() });
        &mut self.verdicts
    }

    /// No more steps follow.
    pub(super) fn finish(&mut self) {
        // Decisions are remembered for long.
        self.verdicts.shrink_to_fit();
    }
}

impl Run {
    /// The step with this index.
    fn step(&self, index: usize, verdict: PackedVerdict) -> Step {
        let worker = u32::try_from(self.worker + index - self.start).unwrap_or(u32::MAX);
        Step { item: self.item, block: self.block, worker, verdict: verdict.unpack() }
    }
}

impl PackedVerdict {
    const KIND_BITS: u32 = 4;
    /// No worker has as much memory.
    const MAX: u64 = u64::MAX >> Self::KIND_BITS;

    #[inline(always)]
    pub(super) fn new(verdict: Verdict) -> Self {
        let (kind, number) = match verdict {
            Verdict::Valid { available: Some(available) } => (0, available.min(Self::MAX)),
            Verdict::Valid { available: None } => (1, 0),
            Verdict::Draining => (2, 0),
            Verdict::Tried => (3, 0),
            Verdict::NotEnoughMemory { available } => (4, available.min(Self::MAX)),
            Verdict::Busy { running } => (5, running.into()),
            Verdict::Full { percent } => (6, percent.into()),
            Verdict::MemoryUnknown => (7, 0),
            Verdict::Affinity { term } => (8, term.into()),
        };
        Self(number << Self::KIND_BITS | kind)
    }

    /// Whether the worker is valid.
    #[inline(always)]
    pub(super) fn is_valid(self) -> bool {
        self.0 & ((1 << Self::KIND_BITS) - 1) <= 1
    }

    /// The memory that can be reserved on a valid worker, in bytes; at most [`Self::MAX`].
    #[inline(always)]
    pub(super) fn available(self) -> u64 {
        self.0 >> Self::KIND_BITS
    }

    fn unpack(self) -> Verdict {
        let number = self.0 >> Self::KIND_BITS;
        let small = u32::try_from(number).unwrap_or(u32::MAX);
        match self.0 & ((1 << Self::KIND_BITS) - 1) {
            0 => Verdict::Valid { available: Some(number) },
            1 => Verdict::Valid { available: None },
            2 => Verdict::Draining,
            3 => Verdict::Tried,
            4 => Verdict::NotEnoughMemory { available: number },
            5 => Verdict::Busy { running: small },
            6 => Verdict::Full { percent: small },
            7 => Verdict::MemoryUnknown,
            _ => Verdict::Affinity { term: small },
        }
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

impl PartialEq for Steps {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for Steps {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_packed_without_loss() {
        let verdicts = [
            Verdict::Valid { available: Some(0) },
            Verdict::Valid { available: Some(7 << 40) },
            Verdict::Valid { available: None },
            Verdict::Draining,
            Verdict::Tried,
            Verdict::NotEnoughMemory { available: 3 },
            Verdict::Busy { running: u32::MAX },
            Verdict::Full { percent: u32::MAX },
            Verdict::MemoryUnknown,
            Verdict::Affinity { term: u32::MAX },
        ];
        let mut steps = Steps::default();
        assert!((steps.is_empty(), steps.last()) == (true, None));
        let mut expected = Vec::new();
        for (item, block, first) in [(ItemUse::Own, 0, 0), (ItemUse::Own, 1, 7), (ItemUse::Followup, 0, 2)] {
            let run = steps.begin_run(item, block, first as usize);
            for (worker, verdict) in (first..).zip(verdicts) {
                run.push(PackedVerdict::new(verdict));
                expected.push(Step { item, block, worker, verdict });
            }
        }
        steps.begin_run(ItemUse::Followup, 1, 0);
        steps.finish();
        assert_eq!(steps.iter().collect::<Vec<_>>(), expected);
        assert_eq!((steps.len(), steps.last()), (expected.len(), expected.last().copied()));
    }
}
