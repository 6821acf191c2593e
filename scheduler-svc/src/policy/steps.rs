//! The steps of a choice.

use std::fmt;

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
    /// It is the function's own, or the default instead of it.
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

/// What was found of each worker that was looked at, in that order. A choice among thousands of workers has
/// thousands of steps, and thousands of choices are remembered: a step takes 8 bytes here.
#[derive(Clone, Default)]
pub struct Steps {
    runs: Vec<Run>,
    found: Vec<Found>,
}

/// Steps for one block at workers that follow each other.
#[derive(Debug, Clone, Copy)]
struct Run {
    item: ItemUse,
    block: u16,
    /// The first worker's index.
    worker: usize,
    /// The index of the first step.
    start: usize,
}

/// A verdict, packed: which one it is in the lowest bits, and its number in the others.
#[derive(Clone, Copy)]
pub(super) struct Found(u64);

impl Steps {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The last one: where the choice was made, if any was.
    pub fn last(&self) -> Option<Step> {
        let index = self.found.len().checked_sub(1)?;
        let run = self.runs.iter().rev().find(|run| run.start <= index)?;
        Some(run.step(index, self.found[index]))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Step> {
        let ends = self.runs.iter().skip(1).map(|run| run.start).chain([self.found.len()]);
        self.runs.iter().zip(ends).flat_map(|(run, end)| {
            let found = self.found.get(run.start..end).unwrap_or_default();
            (run.start..).zip(found).map(|(index, found)| run.step(index, *found))
        })
    }

    /// The memory that they take, in bytes.
    pub fn bytes(&self) -> usize {
        size_of_val(self.runs.as_slice()) + size_of_val(self.found.as_slice())
    }

    /// There will be so many more, at most.
    pub(super) fn reserve(&mut self, more: usize) {
        self.found.reserve(more);
    }

    /// The next steps are those for a block at the workers from this one on.
    pub(super) fn begin_run(&mut self, item: ItemUse, block: u16, worker: usize) -> &mut Vec<Found> {
        self.runs.push(Run { item, block, worker, start: self.found.len() });
        &mut self.found
    }

    /// There will be no more.
    pub(super) fn end(&mut self) {
        // They are kept for long.
        self.found.shrink_to_fit();
    }
}

impl Run {
    /// The step with this index.
    fn step(&self, index: usize, found: Found) -> Step {
        let worker = u32::try_from(self.worker + index - self.start).unwrap_or(u32::MAX);
        Step { item: self.item, block: self.block, worker, verdict: found.verdict() }
    }
}

impl Found {
    const KIND_BITS: u32 = 4;
    /// Nobody has as much memory.
    const MOST: u64 = u64::MAX >> Self::KIND_BITS;

    #[inline(always)]
    pub(super) fn new(verdict: Verdict) -> Self {
        let (kind, number) = match verdict {
            Verdict::Valid { available: Some(available) } => (0, available.min(Self::MOST)),
            Verdict::Valid { available: None } => (1, 0),
            Verdict::Draining => (2, 0),
            Verdict::Tried => (3, 0),
            Verdict::NotEnoughMemory { available } => (4, available.min(Self::MOST)),
            Verdict::Busy { running } => (5, running.into()),
            Verdict::Full { percent } => (6, percent.into()),
            Verdict::MemoryUnknown => (7, 0),
            Verdict::Affinity { term } => (8, term.into()),
        };
        Self(number << Self::KIND_BITS | kind)
    }

    /// Whether the worker may be chosen.
    #[inline(always)]
    pub(super) fn is_valid(self) -> bool {
        self.0 & ((1 << Self::KIND_BITS) - 1) <= 1
    }

    /// What can be reserved on a worker that may be chosen, in bytes; at most [`Self::MOST`].
    #[inline(always)]
    pub(super) fn available(self) -> u64 {
        self.0 >> Self::KIND_BITS
    }

    fn verdict(self) -> Verdict {
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
    fn steps_are_what_was_pushed() {
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
                run.push(Found::new(verdict));
                expected.push(Step { item, block, worker, verdict });
            }
        }
        steps.begin_run(ItemUse::Followup, 1, 0);
        steps.end();
        assert_eq!(steps.iter().collect::<Vec<_>>(), expected);
        assert_eq!((steps.len(), steps.last()), (expected.len(), expected.last().copied()));
    }
}
