//! The choice as a scan of all workers for each block, which records each step: what [`choose`](super::choose)
//! and [`steps`](crate::policy::steps()) have to agree with.

use rand::{Rng, RngExt as _};

use super::super::app::{Block, DEFAULT_TAG, Followup, Item, Script, Strategy, Workers};
use super::super::steps::{ItemUse, Step, Verdict};
use super::super::worker::{Memory, Worker};
use super::{Choice, Refusal, Requirements};

/// Chooses one of `workers`, which are ordered by name.
pub fn choose(
    script: &Script,
    requirements: &Requirements<'_>,
    workers: &[Worker],
    tried: &[String],
    rng: &mut impl Rng,
) -> (Choice, Vec<Step>) {
    let mut scan = Scan { requirements, workers, tried, rng, steps: Vec::new() };
    let outcome = scan.script(script);
    let block = outcome.ok().and_then(|_| scan.steps.last()).map(|step| (step.item, step.block));
    (Choice { outcome, block }, scan.steps)
}

struct Scan<'a, R> {
    requirements: &'a Requirements<'a>,
    workers: &'a [Worker],
    tried: &'a [String],
    rng: &'a mut R,
    steps: Vec<Step>,
}

impl<R: Rng> Scan<'_, R> {
    fn script(&mut self, script: &Script) -> Result<u32, Refusal> {
        if self.workers.iter().all(|worker| worker.draining) {
            return Err(Refusal::NoWorkers);
        }
        let item = script.item_for(self.requirements.tag).ok_or(Refusal::NoMatchingTag)?;
        if let Some(worker) = self.item(item, ItemUse::Own) {
            return Ok(worker);
        }
        let followup = match item.followup {
            Followup::Default if item.tag != DEFAULT_TAG => script.item(DEFAULT_TAG),
            Followup::Default | Followup::Fail => None,
        };
        followup.and_then(|item| self.item(item, ItemUse::Followup)).ok_or(Refusal::NoValidWorkers)
    }

    fn item(&mut self, item: &Item, used: ItemUse) -> Option<u32> {
        item.blocks.iter().zip(0..).find_map(|(block, index)| self.block(block, index, used))
    }

    fn block(&mut self, block: &Block, index: u16, item: ItemUse) -> Option<u32> {
        let candidates: Vec<usize> = match &block.workers {
            Workers::All => (0..self.workers.len()).collect(),
            Workers::Named(names) => {
                let position = |name: &str| self.workers.iter().position(|worker| *worker.name == *name);
                names.iter().filter_map(|named| position(&named.name)).collect()
            }
        };
        let mut valid = Vec::new();
        for at in candidates {
            let worker = u32::try_from(at).expect("few workers");
            let verdict = self.verdict(block, &self.workers[at]);
            self.steps.push(Step { item, block: index, worker, verdict });
            if matches!(verdict, Verdict::Valid { .. }) {
                valid.push(worker);
                if block.strategy == Strategy::BestFirst {
                    break;
                }
            }
        }
        match block.strategy {
            Strategy::BestFirst => valid.first().copied(),
            Strategy::Random if valid.is_empty() => None,
            Strategy::Random => Some(valid[self.rng.random_range(0..valid.len())]),
            Strategy::Platform => valid.into_iter().max_by_key(|index| {
                let worker = &self.workers[*index as usize];
                let warm = worker.warm.contains(self.requirements.code);
                (worker.available(), warm, std::cmp::Reverse((worker.running, *index)))
            }),
        }
    }

    fn verdict(&self, block: &Block, worker: &Worker) -> Verdict {
        let capacity = self.requirements.capacity;
        if worker.draining {
            return Verdict::Draining;
        }
        if self.tried.iter().any(|tried| **tried == *worker.name) {
            return Verdict::Tried;
        }
        if block.max_concurrent_invocations.is_some_and(|max| worker.running >= max) {
            return Verdict::Busy { running: worker.running };
        }
        match (worker.memory, block.capacity_used) {
            (Some(Memory { available, .. }), _) if capacity > available => {
                return Verdict::NotEnoughMemory { available };
            }
            (Some(Memory { total, available }), Some(limit)) => {
                let used = u128::from(total.saturating_sub(available).saturating_add(capacity)) * 100;
                if used > u128::from(total) * u128::from(limit) {
                    let percent = used.div_ceil(u128::from(total.max(1)));
                    return Verdict::Full { percent: u32::try_from(percent).unwrap_or(u32::MAX) };
                }
            }
            (None, Some(_)) => return Verdict::MemoryUnknown,
            _ => {}
        }
        let fails = |term: &&super::super::app::Affinity| (worker.tags.of(&term.tag) > 0) != term.wanted;
        match block.affinity.iter().position(|term| fails(&term)) {
            Some(term) => Verdict::Affinity { term: u32::try_from(term).expect("few terms") },
            None => Verdict::Valid { available: worker.memory.map(|memory| memory.available) },
        }
    }
}
