//! Decisions in words.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use proto::scheduler::v1 as wire;
use proto::scheduler::v1::{ExplainedBlock, ExplainedItem, ExplainedWorker, Explanation};

use crate::decisions::Decision;
use crate::invocation::{capacity_kb_of, tag_of};
use crate::policy::app::{Block, DEFAULT_TAG, Followup, Item, Workers};
use crate::policy::{ItemUse, KB, Refusal, Step, Verdict};

/// Explains a decision. `id` is empty for one that was not made.
pub fn explain(id: String, decision: &Decision) -> Explanation {
    let Decision { function, policy, names, choice, at_ms, .. } = decision;
    let reader = Reader::new(decision);
    let items = reader.items();
    let chosen = choice.outcome.ok().and_then(|index| names.get(index as usize));
    Explanation {
        decision_id: id,
        at_ms: *at_ms,
        module: function.module.clone(),
        function: function.name.clone(),
        tag: tag_of(function).to_owned(),
        capacity_kb: capacity_kb_of(function),
        script: policy.name.as_deref().unwrap_or_default().to_owned(),
        summary: reason(decision),
        items,
        worker: chosen.map(ToString::to_string).unwrap_or_default(),
        refusal: choice.outcome.err().map(Refusal::as_str).unwrap_or_default().to_owned(),
    }
}

/// What was found, to be looked up by its place.
struct Reader<'a> {
    decision: &'a Decision,
    found: HashMap<(bool, u16, u32), Verdict>,
    /// The last step: where the choice was made, if any was.
    last: Option<Step>,
}

impl<'a> Reader<'a> {
    fn new(decision: &'a Decision) -> Self {
        let steps = &decision.choice.steps;
        let found =
            steps.iter().map(|step| ((is_followup(step.item), step.block, step.worker), step.verdict));
        Self { decision, found: found.collect(), last: steps.last() }
    }

    /// The items that were looked at.
    fn items(&self) -> Vec<ExplainedItem> {
        let Decision { function, policy, choice, .. } = self.decision;
        let script = &policy.script;
        let own = match choice.outcome {
            Err(Refusal::NoWorkers | Refusal::NoMatchingTag) => None,
            _ => script.item_for(tag_of(function)),
        };
        let Some(own) = own else { return Vec::new() };
        let mut items = vec![self.item(own, ItemUse::Own)];
        let ended_with_own =
            choice.outcome.is_ok() && self.last.is_some_and(|step| step.item == ItemUse::Own);
        if own.followup == Followup::Default && own.tag != DEFAULT_TAG && !ended_with_own {
            items.extend(script.item(DEFAULT_TAG).map(|item| self.item(item, ItemUse::Followup)));
        }
        items
    }

    fn item(&self, item: &Item, used: ItemUse) -> ExplainedItem {
        let blocks = item.blocks.iter().zip(0..).map(|(block, index)| self.block(block, index, used));
        // The default policy is no script: its tag is none of the user's.
        let tag = self.decision.policy.name.as_ref().map_or("", |_| &item.tag);
        ExplainedItem {
            tag: tag.to_owned(),
            blocks: blocks.collect(),
            followup: item.followup.as_str().to_owned(),
        }
    }

    fn block(&self, block: &Block, index: u16, used: ItemUse) -> ExplainedBlock {
        let names = &self.decision.names;
        let explained = |name: &str, worker: Option<u32>| {
            let (verdict, reason) = match worker {
                None => (wire::Verdict::Invalid, "no worker of this name is there".to_owned()),
                Some(worker) => self.worker(block, index, used, worker),
            };
            ExplainedWorker { worker: name.to_owned(), verdict: verdict.into(), reason }
        };
        let workers = match &block.workers {
            Workers::All => names.iter().zip(0..).map(|(name, index)| explained(name, Some(index))).collect(),
            Workers::Named(named) => {
                named.iter().map(|named| explained(&named.name, index_of(names, &named.name))).collect()
            }
        };
        ExplainedBlock { number: u32::from(index) + 1, strategy: block.strategy.as_str().to_owned(), workers }
    }

    fn worker(&self, block: &Block, index: u16, used: ItemUse, worker: u32) -> (wire::Verdict, String) {
        let found = self.found.get(&(is_followup(used), index, worker));
        let Some(found) = found else {
            return (wire::Verdict::NotReached, "a worker was chosen before it".to_owned());
        };
        let verdict = match found {
            // No worker is valid for a block before the one that gave it.
            Verdict::Valid { .. } if self.decision.choice.outcome == Ok(worker) => wire::Verdict::Chosen,
            Verdict::Valid { .. } => wire::Verdict::Valid,
            _ => wire::Verdict::Invalid,
        };
        (verdict, words(found, block, capacity_kb_of(&self.decision.function)))
    }
}

fn is_followup(item: ItemUse) -> bool {
    item == ItemUse::Followup
}

fn index_of(names: &[Arc<str>], name: &str) -> Option<u32> {
    let index = names.binary_search_by(|known| (**known).cmp(name)).ok()?;
    u32::try_from(index).ok()
}

/// What was found of a worker, and by which rule of the block.
fn words(verdict: &Verdict, block: &Block, capacity_kb: u64) -> String {
    match verdict {
        Verdict::Valid { available: Some(available) } => format!("has {} KB available", available / KB),
        Verdict::Valid { available: None } => {
            "its memory is unknown, and counts as none available".to_owned()
        }
        Verdict::Draining => "it stops and takes nothing new".to_owned(),
        Verdict::Tried => "it could not take this invocation a moment ago".to_owned(),
        Verdict::NotEnoughMemory { available } => {
            format!("has {} KB available, {capacity_kb} KB are needed", available / KB)
        }
        Verdict::Busy { .. } if block.max_concurrent_invocations == Some(0) => {
            "may run nothing: max_concurrent_invocations is 0".to_owned()
        }
        Verdict::Busy { running } => {
            let most = block.max_concurrent_invocations.unwrap_or_default();
            format!(
                "runs {running} invocations, and would have to run fewer than {most} (max_concurrent_invocations)"
            )
        }
        Verdict::Full { percent } => {
            let most = block.capacity_used.unwrap_or_default();
            format!(
                "would have {percent} % of its memory in use, at most {most} % are allowed (capacity_used)"
            )
        }
        Verdict::MemoryUnknown => "its memory is unknown, so that capacity_used cannot be kept".to_owned(),
        Verdict::Affinity { term } => match block.affinity.get(*term as usize) {
            Some(term) if term.wanted => format!("runs nothing tagged {:?} (affinity)", term.tag),
            Some(term) => format!("runs something tagged {:?} (affinity)", term.tag),
            None => "its affinity does not hold".to_owned(),
        },
    }
}

/// Why this worker was chosen, or none, in one sentence.
pub fn reason(decision: &Decision) -> String {
    let Decision { function, policy, names, choice, .. } = decision;
    let by = match &policy.name {
        None => "the default policy".to_owned(),
        Some(name) => format!("the script {name}"),
    };
    let tag = tag_of(function);
    match choice.outcome {
        Ok(index) => {
            let worker = names.get(index as usize).map_or("", |name| name);
            match &policy.name {
                None => format!("{worker}: {by} takes the worker with the most memory available"),
                Some(_) => format!("{worker}: chosen by {by},{}", block_that_gave(decision)),
            }
        }
        Err(Refusal::NoMatchingTag) => {
            format!("no worker: {by} has no item for the tag {tag:?}, and no default")
        }
        Err(Refusal::NoValidWorkers) => format!("no worker: {by} allows none of those there are"),
        Err(Refusal::NoWorkers) if names.is_empty() => "no worker: none is there".to_owned(),
        Err(Refusal::NoWorkers) => "no worker: all that are there stop and take nothing new".to_owned(),
    }
}

/// Which block of a script gave the worker.
fn block_that_gave(decision: &Decision) -> String {
    let script = &decision.policy.script;
    let of_step = |step: Step| {
        let item = match step.item {
            ItemUse::Own => script.item_for(tag_of(&decision.function)),
            ItemUse::Followup => script.item(DEFAULT_TAG),
        };
        let block = item?.blocks.get(usize::from(step.block))?;
        Some(format!(" block {} of {:?} ({})", step.block + 1, item?.tag, block.strategy.as_str()))
    };
    decision.choice.steps.last().and_then(of_step).unwrap_or_default()
}
