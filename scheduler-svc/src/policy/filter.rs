//! Finds the workers that are valid for a block, up to a word of them at a time. [`Rule`](super::rule::Rule) says
//! the same of one worker, and why.

use super::app::Block;
use super::bitset::{Bitset, WORD};
use super::rule::{Requirements, is_within};
use super::table::WorkerTable;

/// Which workers are valid for a block and an invocation.
pub(super) struct Filter<'a> {
    table: &'a WorkerTable,
    capacity: u64,
    /// The indexes of workers that have been tried.
    tried: &'a [usize],
    max_running: Option<u32>,
    capacity_used: Option<u8>,
    /// The sets of workers that the affinity requires, and those that it excludes.
    required: Vec<&'a Bitset>,
    excluded: Vec<&'a Bitset>,
}

impl<'a> Filter<'a> {
    /// `None`: no worker is valid.
    pub(super) fn new(
        block: &Block,
        requirements: &Requirements<'_>,
        table: &'a WorkerTable,
        tried: &'a [usize],
    ) -> Option<Self> {
        if block.max_concurrent_invocations == Some(0) {
            return None;
        }
        let (mut required, mut excluded) = (Vec::new(), Vec::new());
        for term in &block.affinity {
            match (term.wanted, table.with_tag(&term.tag)) {
                (true, with) => required.push(with?),
                (false, Some(with)) => excluded.push(with),
                (false, None) => {}
            }
        }
        Some(Self {
            table,
            capacity: requirements.capacity,
            tried,
            max_running: block.max_concurrent_invocations,
            capacity_used: block.capacity_used,
            required,
            excluded,
        })
    }

    /// The valid ones among the `N` workers from `start` on, the first in the lowest bit. `start` is a multiple of
    /// `N`, which divides a word.
    #[inline]
    pub(super) fn valid<const N: usize>(&self, start: usize) -> u64 {
        const { assert!(WORD.is_multiple_of(N)) };
        let table = self.table;
        let mut valid = table.accepting.lanes::<N>(start);
        for set in &self.required {
            valid &= set.lanes::<N>(start);
        }
        for set in &self.excluded {
            valid &= !set.lanes::<N>(start);
        }
        for tried in self.tried {
            if (start..start + N).contains(tried) {
                valid &= !(1 << (tried - start));
            }
        }
        if valid == 0 {
            return 0;
        }
        // Unknown memory is enough for any capacity, but the percentage in use is unknown, too.
        let fits = lanes_where::<u64, N>(&table.available[start..], |available| available >= self.capacity);
        valid &= fits | table.unknown.lanes::<N>(start);
        if let Some(max) = self.max_running {
            valid &= lanes_where::<u32, N>(&table.running[start..], |running| running < max);
        }
        if let Some(limit) = self.capacity_used {
            valid &= lanes_where::<u8, N>(&table.percent_used[start..], |percent| percent <= limit);
            valid &= !table.unknown.lanes::<N>(start);
            for lane in ones(valid) {
                let memory = table.workers()[start + lane].memory;
                if !memory.is_some_and(|memory| is_within(self.capacity, memory, limit)) {
                    valid &= !(1 << lane);
                }
            }
        }
        valid
    }

    /// Whether the worker with this index is valid.
    pub(super) fn is_valid(&self, index: usize) -> bool {
        self.valid::<1>(index) != 0
    }

    /// Whether a worker may be valid with at most so much memory available.
    pub(super) fn may_fit(&self, available: u64) -> bool {
        available >= self.capacity
    }
}

/// The indexes of the bits that are set.
pub(super) fn ones(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = (bits != 0).then(|| bits.trailing_zeros() as usize);
        bits &= bits.wrapping_sub(1);
        lowest
    })
}

/// The first `N` values for which a test holds.
#[inline(always)]
fn lanes_where<T: Copy, const N: usize>(values: &[T], holds: impl Fn(T) -> bool) -> u64 {
    let Some(values) = values.first_chunk::<N>() else { return 0 };
    values.iter().rev().fold(0, |lanes, value| lanes << 1 | u64::from(holds(*value)))
}
