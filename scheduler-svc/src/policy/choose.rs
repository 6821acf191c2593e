//! Chooses a worker by a script.

#[cfg(test)]
pub(crate) mod oracle;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use rand::{Rng, RngExt as _};

use super::app::{Block, DEFAULT_TAG, Followup, Item, Script, Strategy, WorkerName, Workers};
use super::bitset::WORD;
use super::filter::{Filter, ones};
use super::memory_index::{FAN_OUT, Node};
use super::rule::Requirements;
use super::steps::ItemUse;
use super::table::WorkerTable;

/// The outcome of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The index of the chosen worker, or why there is none.
    pub outcome: Outcome,
    /// The item and the index of the block that gave the worker.
    pub block: Option<(ItemUse, u16)>,
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

impl Choice {
    /// The items of `script` that were evaluated for a function with this tag, in order.
    pub fn items<'a>(
        &self,
        script: &'a Script,
        tag: &str,
    ) -> impl Iterator<Item = (&'a Item, ItemUse)> + use<'a> {
        let own = match self.outcome {
            Err(Refusal::NoWorkers | Refusal::NoMatchingTag) => None,
            _ => script.item_for(tag),
        };
        let ended_with_own = self.block.is_some_and(|(item, _)| item == ItemUse::Own);
        let followup = own.filter(|_| !ended_with_own).and_then(|item| followup_of(script, item));
        let own = own.map(|item| (item, ItemUse::Own));
        own.into_iter().chain(followup.map(|item| (item, ItemUse::Followup)))
    }
}

/// The item that is tried after this one. The followup of the default item does not count.
fn followup_of<'a>(script: &'a Script, item: &Item) -> Option<&'a Item> {
    match item.followup {
        Followup::Default if item.tag != DEFAULT_TAG => script.item(DEFAULT_TAG),
        Followup::Default | Followup::Fail => None,
    }
}

/// Chooses one of `workers` by `script`. The workers named in `tried` are not valid.
pub fn choose(
    script: &Script,
    requirements: &Requirements<'_>,
    workers: &WorkerTable,
    tried: &[String],
    rng: &mut impl Rng,
) -> Choice {
    let refused = |refusal| Choice { outcome: Err(refusal), block: None };
    if workers.accepting.is_empty() {
        return refused(Refusal::NoWorkers);
    }
    let Some(item) = script.item_for(requirements.tag) else { return refused(Refusal::NoMatchingTag) };
    let tried: Vec<_> = tried.iter().filter_map(|name| workers.position(name)).collect();
    let mut evaluation = Evaluation { requirements, workers, tried: &tried, rng };
    if let Some(choice) = evaluation.item(item, ItemUse::Own) {
        return choice;
    }
    let followup = followup_of(script, item).and_then(|item| evaluation.item(item, ItemUse::Followup));
    followup.unwrap_or(refused(Refusal::NoValidWorkers))
}

/// One evaluation of a script.
struct Evaluation<'a, R> {
    requirements: &'a Requirements<'a>,
    workers: &'a WorkerTable,
    tried: &'a [usize],
    rng: &'a mut R,
}

impl<R: Rng> Evaluation<'_, R> {
    fn item(&mut self, item: &Item, used: ItemUse) -> Option<Choice> {
        item.blocks.iter().zip(0..).find_map(|(block, index)| {
            let worker = u32::try_from(self.block(block)?).unwrap_or(u32::MAX);
            Some(Choice { outcome: Ok(worker), block: Some((used, index)) })
        })
    }

    fn block(&mut self, block: &Block) -> Option<usize> {
        let filter = Filter::new(block, self.requirements, self.workers, self.tried)?;
        match (&block.workers, block.strategy) {
            (Workers::All, Strategy::BestFirst) => self.valid_words(&filter).find_map(|(start, valid)| {
                let first = ones(valid).next()?;
                Some(start + first)
            }),
            (Workers::All, Strategy::Random) => self.random(&filter),
            (Workers::All, Strategy::Platform) => {
                let root = self.workers.by_memory.root()?;
                let mut best = Best::new(self.workers, self.requirements);
                best.search(&filter, root);
                best.index()
            }
            (Workers::Named(names), Strategy::BestFirst) => self.valid_named(&filter, names).next(),
            (Workers::Named(names), Strategy::Random) => {
                let valid: Vec<_> = self.valid_named(&filter, names).collect();
                (!valid.is_empty()).then(|| valid[self.rng.random_range(0..valid.len())])
            }
            (Workers::Named(names), Strategy::Platform) => {
                let mut best = Best::new(self.workers, self.requirements);
                self.valid_named(&filter, names).for_each(|index| best.offer(index));
                best.index()
            }
        }
    }

    /// The valid workers, a word of them at a time: the index of the first one, and the bits.
    fn valid_words(&self, filter: &Filter<'_>) -> impl Iterator<Item = (usize, u64)> {
        (0..self.workers.workers().len()).step_by(WORD).map(|start| (start, filter.valid::<WORD>(start)))
    }

    /// The valid ones among these workers, in their order.
    fn valid_named(&self, filter: &Filter<'_>, names: &[WorkerName]) -> impl Iterator<Item = usize> {
        let positions = names.iter().filter_map(|named| self.workers.position(&named.name));
        positions.filter(|index| filter.is_valid(*index))
    }

    /// A random one of all valid workers.
    fn random(&mut self, filter: &Filter<'_>) -> Option<usize> {
        let words: Vec<_> = self.valid_words(filter).collect();
        let count = words.iter().map(|(_, valid)| valid.count_ones() as usize).sum::<usize>();
        if count == 0 {
            return None;
        }
        let mut before = self.rng.random_range(0..count);
        words.into_iter().find_map(|(start, valid)| {
            let here = valid.count_ones() as usize;
            match before < here {
                true => ones(valid).nth(before).map(|lane| start + lane),
                false => {
                    before -= here;
                    None
                }
            }
        })
    }
}

/// Finds the valid worker with the most memory available; among equals one that is warm, then the least busy,
/// then the first by name.
struct Best<'a> {
    table: &'a WorkerTable,
    requirements: &'a Requirements<'a>,
    /// Whether the memory of any worker is unknown.
    any_unknown: bool,
    best: Option<Candidate>,
}

#[derive(Clone, Copy)]
struct Candidate {
    index: usize,
    available: u64,
    running: u32,
    /// Whether it is warm, if that had to be known.
    warm: Option<bool>,
}

impl<'a> Best<'a> {
    fn new(table: &'a WorkerTable, requirements: &'a Requirements<'a>) -> Self {
        Self { table, requirements, any_unknown: !table.unknown.is_empty(), best: None }
    }

    fn index(&self) -> Option<usize> {
        self.best.map(|best| best.index)
    }

    /// Offers the valid workers below a node of the index, unless none of them can be better.
    fn search(&mut self, filter: &Filter<'_>, node: Node) {
        if !self.may_be_below(filter, node) {
            return;
        }
        let Some(children) = self.table.by_memory.children(node) else {
            let start = node.first_worker();
            ones(filter.valid::<FAN_OUT>(start)).for_each(|lane| self.offer(start + lane));
            return;
        };
        // The better the first one is, the fewer others can be better.
        let key = self.table.by_memory.key(node);
        let first = children.clone().find(|child| self.table.by_memory.key(*child) == key);
        for child in first.into_iter().chain(children.filter(|child| Some(*child) != first)) {
            self.search(filter, child);
        }
    }

    /// Whether a better worker may be below a node.
    fn may_be_below(&mut self, filter: &Filter<'_>, node: Node) -> bool {
        let key = self.table.by_memory.key(node);
        if !filter.may_fit(key.available) && !self.any_unknown {
            return false;
        }
        let Some(mut best) = self.best else { return true };
        match key.available.cmp(&best.available) {
            Ordering::Less => false,
            Ordering::Greater => true,
            Ordering::Equal => {
                let is_before = (key.running(), node.first_worker()) < (best.running, best.index);
                let may_be = is_before || !self.is_warm(&mut best);
                self.best = Some(best);
                may_be
            }
        }
    }

    /// Offers a valid worker.
    fn offer(&mut self, index: usize) {
        let (available, running) = (self.table.available[index], self.table.running[index]);
        let mut new = Candidate { index, available, running, warm: None };
        let Some(mut best) = self.best else {
            self.best = Some(new);
            return;
        };
        let is_better = match available.cmp(&best.available) {
            Ordering::Less => return,
            Ordering::Greater => true,
            Ordering::Equal => {
                let is_before = (running, index) < (best.running, best.index);
                match (is_before, self.is_warm(&mut best)) {
                    // Even if it were warm it would not be better.
                    (false, true) => false,
                    (false, false) => self.is_warm(&mut new),
                    (true, false) => true,
                    (true, true) => self.is_warm(&mut new),
                }
            }
        };
        self.best = Some(if is_better { new } else { best });
    }

    fn is_warm(&self, candidate: &mut Candidate) -> bool {
        let worker = &self.table.workers()[candidate.index];
        *candidate.warm.get_or_insert_with(|| worker.warm.contains(self.requirements.code))
    }
}
