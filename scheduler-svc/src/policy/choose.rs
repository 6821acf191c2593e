//! The choice of a worker by a script, and the steps that led to it.

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use bytes::Bytes;
use rand::{Rng, RngExt as _};

use super::app::{Block, DEFAULT_TAG, Followup, Item, Script, Strategy, Workers};
use super::rule::{Requirements, Rule};
use super::steps::{Found, ItemUse, Steps};
use super::worker::Worker;

/// A choice, with the steps that led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The worker, by its index, or why there is none.
    pub outcome: Outcome,
    /// What was found of each worker that was looked at, in that order.
    pub steps: Steps,
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

/// Chooses one of `workers`, which are in order of name, as `script` says. Those named in `tried` are
/// not valid any more.
pub fn choose(
    script: &Script,
    requirements: &Requirements<'_>,
    workers: &[Worker],
    tried: &[String],
    rng: &mut impl Rng,
) -> Choice {
    let mut walk = Walk { requirements, workers, tried, rng, steps: Steps::default() };
    let outcome = walk.script(script);
    walk.steps.end();
    Choice { outcome, steps: walk.steps }
}

struct Walk<'a, R> {
    requirements: &'a Requirements<'a>,
    workers: &'a [Worker],
    tried: &'a [String],
    rng: &'a mut R,
    steps: Steps,
}

impl<R: Rng> Walk<'_, R> {
    fn script(&mut self, script: &Script) -> Outcome {
        if self.workers.iter().all(|worker| worker.draining) {
            return Err(Refusal::NoWorkers);
        }
        let item = script.item_for(self.requirements.tag).ok_or(Refusal::NoMatchingTag)?;
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
        item.blocks.iter().zip(0..).find_map(|(block, index)| {
            // Who takes the first and finds none looks at all.
            if block.strategy != Strategy::BestFirst || index > 0 {
                let rest = item.blocks.iter().skip(index.into());
                self.steps.reserve(rest.map(|block| self.candidates(block)).sum());
            }
            self.block(block, index, used)
        })
    }

    /// How many workers a block looks at, at most.
    fn candidates(&self, block: &Block) -> usize {
        match &block.workers {
            Workers::All => self.workers.len(),
            Workers::Named(names) => names.len(),
        }
    }

    fn block(&mut self, block: &Block, index: u16, used: ItemUse) -> Option<u32> {
        let mut taken = Taken::new(block.strategy, self.workers, self.requirements.code);
        let rule = Rule::new(block, self.requirements, self.tried);
        match &block.workers {
            Workers::All => {
                let found = self.steps.begin_run(used, index, 0);
                // Who takes the first does not look at many more.
                let mut at_once = if block.strategy == Strategy::BestFirst { 8 } else { self.workers.len() };
                let mut rest = self.workers;
                while !rest.is_empty() {
                    let (some, others) = rest.split_at(at_once.min(rest.len()));
                    let (start, first) = (found.len(), self.workers.len() - rest.len());
                    rule.find(some, found);
                    if let Some(last) = taken.take(first, &found[start..]) {
                        found.truncate(start + last + 1);
                        break;
                    }
                    (rest, at_once) = (others, 2 * at_once);
                }
            }
            Workers::Named(names) => {
                for named in names {
                    let Some(worker) = index_of(self.workers, &named.name) else { continue };
                    let found = self.steps.begin_run(used, index, worker);
                    let start = found.len();
                    rule.find(&self.workers[worker..=worker], found);
                    if taken.take(worker, &found[start..]).is_some() {
                        break;
                    }
                }
            }
        }
        taken.end(self.rng)
    }
}

/// Which of the valid candidates of a block is taken.
enum Taken<'a> {
    First(Option<u32>),
    Any(Vec<u32>),
    Best(Best<'a>),
}

impl<'a> Taken<'a> {
    fn new(strategy: Strategy, workers: &'a [Worker], code: &'a Bytes) -> Self {
        match strategy {
            Strategy::BestFirst => Self::First(None),
            Strategy::Random => Self::Any(Vec::new()),
            Strategy::Platform => Self::Best(Best { workers, code, found: None }),
        }
    }

    /// What was `found` at the workers from `first` on. `Some`: that one decides, and no more need be looked
    /// at.
    fn take(&mut self, first: usize, found: &[Found]) -> Option<usize> {
        let mut valid = found.iter().enumerate().filter(|(_, found)| found.is_valid());
        let index = |at: usize| u32::try_from(first + at).unwrap_or(u32::MAX);
        match self {
            Self::First(taken) => {
                let (at, _) = valid.next()?;
                *taken = Some(index(at));
                Some(at)
            }
            Self::Any(all) => {
                all.extend(valid.map(|(at, _)| index(at)));
                None
            }
            Self::Best(best) => {
                valid.for_each(|(at, found)| best.offer(index(at), *found));
                None
            }
        }
    }

    fn end(self, rng: &mut impl Rng) -> Option<u32> {
        match self {
            Self::First(taken) => taken,
            Self::Any(all) if all.is_empty() => None,
            Self::Any(all) => Some(all[rng.random_range(0..all.len())]),
            Self::Best(best) => best.found.map(|found| found.index),
        }
    }
}

/// Of the workers that are offered the one with the most memory available; among equals one that is warm,
/// then the least busy, then the first by name.
struct Best<'a> {
    workers: &'a [Worker],
    code: &'a Bytes,
    found: Option<Candidate>,
}

#[derive(Clone, Copy)]
struct Candidate {
    index: u32,
    found: Found,
    /// Whether it is warm, once that has mattered.
    warm: Option<bool>,
}

impl Best<'_> {
    /// `found` is what was found of a worker that is valid.
    #[inline]
    fn offer(&mut self, index: u32, found: Found) {
        // Most need no look at the worker itself.
        if self.found.is_none_or(|best| found.available() >= best.found.available()) {
            self.compare(index, found);
        }
    }

    fn compare(&mut self, index: u32, found: Found) {
        let new = Candidate { index, found, warm: None };
        let Some(best) = &mut self.found else {
            self.found = Some(new);
            return;
        };
        let (worker, other) = (&self.workers[index as usize], &self.workers[best.index as usize]);
        match worker.available().cmp(&other.available()) {
            Ordering::Less => {}
            Ordering::Greater => *best = new,
            Ordering::Equal => {
                let best_warm = *best.warm.get_or_insert_with(|| other.warm.contains(self.code));
                let is_before = (worker.running, index) < (other.running, best.index);
                // Who would not be better if it were warm need not be asked.
                if best_warm && !is_before {
                    return;
                }
                let warm = worker.warm.contains(self.code);
                if (!warm, !is_before) < (!best_warm, true) {
                    *best = Candidate { warm: Some(warm), ..new };
                }
            }
        }
    }
}

/// The index of the worker of this name.
fn index_of(workers: &[Worker], name: &str) -> Option<usize> {
    workers.binary_search_by(|worker| (*worker.name).cmp(name)).ok()
}
