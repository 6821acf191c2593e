//! Chooses a worker by a script, and records the steps that led to it.

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use bytes::Bytes;
use rand::{Rng, RngExt as _};

use super::app::{Block, DEFAULT_TAG, Followup, Item, Script, Strategy, Workers};
use super::rule::{Requirements, Rule};
use super::steps::{ItemUse, PackedVerdict, Steps};
use super::worker::Worker;

/// The outcome of a script, and how it came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The index of the chosen worker, or why there is none.
    pub outcome: Outcome,
    /// The verdict on each worker that was considered, in order.
    pub steps: Steps,
}

/// The index of the chosen worker, or why there is none.
pub type Outcome = Result<u32, Refusal>;

/// Why no worker was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No worker has joined, or all of them drain.
    NoWorkers,
    /// The script has no item for the tag and no default.
    NoMatchingTag,
    /// No worker is valid for any block.
    NoValidWorkers,
}

impl Refusal {
    /// Its name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoWorkers => "no_workers",
            Self::NoMatchingTag => "no_matching_tag",
            Self::NoValidWorkers => "no_valid_workers",
        }
    }
}

/// Chooses one of `workers`, which are ordered by name, by `script`. The workers named in `tried` are not
/// valid.
pub fn choose(
    script: &Script,
    requirements: &Requirements<'_>,
    workers: &[Worker],
    tried: &[String],
    rng: &mut impl Rng,
) -> Choice {
    let mut evaluation = Evaluation { requirements, workers, tried, rng, steps: Steps::default() };
    let outcome = evaluation.script(script);
    evaluation.steps.finish();
    Choice { outcome, steps: evaluation.steps }
}

/// One evaluation of a script.
struct Evaluation<'a, R> {
    requirements: &'a Requirements<'a>,
    workers: &'a [Worker],
    tried: &'a [String],
    rng: &'a mut R,
    steps: Steps,
}

impl<R: Rng> Evaluation<'_, R> {
    fn script(&mut self, script: &Script) -> Outcome {
        if self.workers.iter().all(|worker| worker.draining) {
            return Err(Refusal::NoWorkers);
        }
        let item = script.item_for(self.requirements.tag).ok_or(Refusal::NoMatchingTag)?;
        if let Some(worker) = self.item(item, ItemUse::Own) {
            return Ok(worker);
        }
        // The followup of the default item does not count.
        let followup = match item.followup {
            Followup::Default if item.tag != DEFAULT_TAG => script.item(DEFAULT_TAG),
            Followup::Default | Followup::Fail => None,
        };
        followup.and_then(|item| self.item(item, ItemUse::Followup)).ok_or(Refusal::NoValidWorkers)
    }

    fn item(&mut self, item: &Item, used: ItemUse) -> Option<u32> {
        item.blocks.iter().zip(0..).find_map(|(block, index)| {
            // A `best-first` block that gives no worker has considered all of them.
            if block.strategy != Strategy::BestFirst || index > 0 {
                let rest = item.blocks.iter().skip(index.into());
                self.steps.reserve(rest.map(|block| self.candidates(block)).sum());
            }
            self.block(block, index, used)
        })
    }

    /// The most workers that a block considers.
    fn candidates(&self, block: &Block) -> usize {
        match &block.workers {
            Workers::All => self.workers.len(),
            Workers::Named(names) => names.len(),
        }
    }

    fn block(&mut self, block: &Block, index: u16, used: ItemUse) -> Option<u32> {
        let mut selection = Selection::new(block.strategy, self.workers, self.requirements.code);
        let rule = Rule::new(block, self.requirements, self.tried);
        match &block.workers {
            Workers::All => {
                let verdicts = self.steps.begin_run(used, index, 0);
                // `best-first` need not consider many more than it takes.
                let mut at_once = if block.strategy == Strategy::BestFirst { 8 } else { self.workers.len() };
                let mut rest = self.workers;
                while !rest.is_empty() {
                    let (some, others) = rest.split_at(at_once.min(rest.len()));
                    let (start, first) = (verdicts.len(), self.workers.len() - rest.len());
                    rule.evaluate(some, verdicts);
                    if let Some(last) = selection.offer(first, &verdicts[start..]) {
                        verdicts.truncate(start + last + 1);
                        break;
                    }
                    (rest, at_once) = (others, 2 * at_once);
                }
            }
            Workers::Named(names) => {
                for named in names {
                    let Some(worker) = index_of(self.workers, &named.name) else { continue };
                    let verdicts = self.steps.begin_run(used, index, worker);
                    let start = verdicts.len();
                    rule.evaluate(&self.workers[worker..=worker], verdicts);
                    if selection.offer(worker, &verdicts[start..]).is_some() {
                        break;
                    }
                }
            }
        }
        selection.finish(self.rng)
    }
}

/// Selects one of the valid candidates of a block.
enum Selection<'a> {
    First(Option<u32>),
    Random(Vec<u32>),
    Best(Best<'a>),
}

impl<'a> Selection<'a> {
    fn new(strategy: Strategy, workers: &'a [Worker], code: &'a Bytes) -> Self {
        match strategy {
            Strategy::BestFirst => Self::First(None),
            Strategy::Random => Self::Random(Vec::new()),
            Strategy::Platform => Self::Best(Best { workers, code, best: None }),
        }
    }

    /// Offers the workers from the index `first` on, with the verdicts on them. `Some`: the one at this
    /// offset is selected, and no others need be considered.
    fn offer(&mut self, first: usize, verdicts: &[PackedVerdict]) -> Option<usize> {
        let mut valid = verdicts.iter().enumerate().filter(|(_, verdict)| verdict.is_valid());
        let index = |at: usize| u32::try_from(first + at).unwrap_or(u32::MAX);
        match self {
            Self::First(selected) => {
                let (at, _) = valid.next()?;
                *selected = Some(index(at));
                Some(at)
            }
            Self::Random(all) => {
                all.extend(valid.map(|(at, _)| index(at)));
                None
            }
            Self::Best(best) => {
                valid.for_each(|(at, verdict)| best.offer(index(at), *verdict));
                None
            }
        }
    }

    fn finish(self, rng: &mut impl Rng) -> Option<u32> {
        match self {
            Self::First(selected) => selected,
            Self::Random(all) if all.is_empty() => None,
            Self::Random(all) => Some(all[rng.random_range(0..all.len())]),
            Self::Best(best) => best.best.map(|best| best.index),
        }
    }
}

/// Finds the worker with the most memory available; among equals one that is warm, then the least busy, then
/// the first by name.
struct Best<'a> {
    workers: &'a [Worker],
    code: &'a Bytes,
    best: Option<Candidate>,
}

#[derive(Clone, Copy)]
struct Candidate {
    index: u32,
    verdict: PackedVerdict,
    /// Whether it is warm, if that had to be known.
    warm: Option<bool>,
}

impl Best<'_> {
    /// Offers a valid worker.
    #[inline]
    fn offer(&mut self, index: u32, verdict: PackedVerdict) {
        // For most workers the verdict is enough.
        if self.best.is_none_or(|best| verdict.available() >= best.verdict.available()) {
            self.compare(index, verdict);
        }
    }

    fn compare(&mut self, index: u32, verdict: PackedVerdict) {
        let new = Candidate { index, verdict, warm: None };
        let Some(best) = &mut self.best else {
            self.best = Some(new);
            return;
        };
        let (worker, other) = (&self.workers[index as usize], &self.workers[best.index as usize]);
        match worker.available().cmp(&other.available()) {
            Ordering::Less => {}
            Ordering::Greater => *best = new,
            Ordering::Equal => {
                let best_warm = *best.warm.get_or_insert_with(|| other.warm.contains(self.code));
                let is_before = (worker.running, index) < (other.running, best.index);
                // Even if the worker were warm it would not be better.
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
