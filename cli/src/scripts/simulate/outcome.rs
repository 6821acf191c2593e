//! What was simulated, and where it was placed.

use anyhow::Context as _;
use serde::Deserialize;

use super::input::{Invocation, Worker};
use super::place::Place;

/// The mesh's answer.
#[derive(Debug, Deserialize)]
pub struct Answer {
    placements: Vec<Placement>,
}

#[derive(Debug, Deserialize)]
struct Placement {
    invocation: usize,
    #[serde(default)]
    worker: String,
    #[serde(default)]
    refusal: String,
}

/// A simulation that was done.
#[derive(Debug)]
pub struct Outcome {
    pub workers: Vec<Worker>,
    /// In the order in which they were placed.
    pub placed: Vec<Placed>,
    /// When the last of them has ended, in nanoseconds. Those that do not end run until then.
    pub until_ns: u64,
}

/// An invocation and its place.
#[derive(Debug)]
pub struct Placed {
    /// Which one of the load, from 0.
    pub index: usize,
    pub invocation: Invocation,
    pub place: Place,
}

impl Placed {
    /// When it has ended, in nanoseconds.
    pub fn end_ns(&self, until_ns: u64) -> u64 {
        let Invocation { at_ns, duration_ns, .. } = &self.invocation;
        duration_ns.map_or(until_ns, |duration_ns| at_ns.saturating_add(duration_ns))
    }

    /// The memory that it reserves, in KB.
    pub fn capacity_kb(&self) -> u64 {
        match self.invocation.capacity_kb {
            0 => proto::DEFAULT_CAPACITY_KB,
            kb => kb,
        }
    }

    /// Whether it runs where it did. `None`: nobody has said where that was.
    pub fn agrees(&self) -> Option<bool> {
        self.invocation.recorded.as_ref().map(|recorded| *recorded == self.place)
    }
}

impl Outcome {
    /// The load where `answer` has placed it.
    pub fn new(workers: Vec<Worker>, load: Vec<Invocation>, answer: Answer) -> anyhow::Result<Self> {
        let ends = load
            .iter()
            .map(|invocation| invocation.at_ns.saturating_add(invocation.duration_ns.unwrap_or_default()));
        let until_ns = ends.max().unwrap_or_default();
        let mut load: Vec<_> = load.into_iter().map(Some).collect();
        let placed = |placement: Placement| {
            let Placement { invocation: index, worker, refusal } = placement;
            let invocation = load.get_mut(index).and_then(Option::take)?;
            let place = if worker.is_empty() { Place::Refused(refusal) } else { Place::On(worker) };
            Some(Placed { index, invocation, place })
        };
        let placed: Option<Vec<_>> = answer.placements.into_iter().map(placed).collect();
        let placed = placed.context("the answer places what was not asked for")?;
        Ok(Self { workers, placed, until_ns })
    }

    /// How many are placed where they really ran, and of how many that is known. `None`: of none.
    pub fn agreement(&self) -> Option<(usize, usize)> {
        let known: Vec<bool> = self.placed.iter().filter_map(Placed::agrees).collect();
        let agree = known.iter().filter(|agrees| **agrees).count();
        (!known.is_empty()).then_some((agree, known.len()))
    }
}

#[cfg(test)]
pub(super) mod tests;
