//! Explains decisions in words.

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

/// Explains a decision. `id` is empty for a hypothetical one.
pub fn explain(id: String, decision: &Decision) -> Explanation {
    let Decision { function, policy, names, choice, at_ms, .. } = decision;
    let reader = Explainer::new(decision);
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

/// Explains one decision.
struct Explainer<'a> {
    decision: &'a Decision,
    /// By whether the item is the followup, the block and the worker.
    verdicts: HashMap<(bool, u16, u32), Verdict>,
    /// The last step: if a worker was chosen, the block in which.
    last: Option<Step>,
}

impl<'a> Explainer<'a> {
    fn new(decision: &'a Decision) -> Self {
        let steps = &decision.choice.steps;
        let verdicts =
            steps.iter().map(|step| ((is_followup(step.item), step.block, step.worker), step.verdict));
        Self { decision, verdicts: verdicts.collect(), last: steps.last() }
    }

    /// The items that were evaluated.
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
        // Users know no script and no tag of the default policy.
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
                None => (wire::Verdict::Invalid, "no worker has this name".to_owned()),
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
        let verdict = self.verdicts.get(&(is_followup(used), index, worker));
        let Some(verdict) = verdict else {
            return (wire::Verdict::NotReached, "a worker was chosen before it".to_owned());
        };
        let explained = match verdict {
            // Workers are valid only for the last block that was evaluated.
            Verdict::Valid { .. } if self.decision.choice.outcome == Ok(worker) => wire::Verdict::Chosen,
            Verdict::Valid { .. } => wire::Verdict::Valid,
            _ => wire::Verdict::Invalid,
        };
        (explained, words(verdict, block, capacity_kb_of(&self.decision.function)))
    }
}

fn is_followup(item: ItemUse) -> bool {
    item == ItemUse::Followup
}

fn index_of(names: &[Arc<str>], name: &str) -> Option<u32> {
    let index = names.binary_search_by(|known| (**known).cmp(name)).ok()?;
    u32::try_from(index).ok()
}

/// A verdict in words, with the rule of the block that led to it.
fn words(verdict: &Verdict, block: &Block, capacity_kb: u64) -> String {
    match verdict {
        Verdict::Valid { available: Some(available) } => format!("has {} KB available", available / KB),
        Verdict::Valid { available: None } => "its memory is unknown and counts as 0 KB available".to_owned(),
        Verdict::Draining => "it is draining".to_owned(),
        Verdict::Tried => "an earlier attempt of this invocation failed there".to_owned(),
        Verdict::NotEnoughMemory { available } => {
            format!("has {} KB available, {capacity_kb} KB are needed", available / KB)
        }
        Verdict::Busy { .. } if block.max_concurrent_invocations == Some(0) => {
            "may run nothing: max_concurrent_invocations is 0".to_owned()
        }
        Verdict::Busy { running } => {
            let most = block.max_concurrent_invocations.unwrap_or_default();
            format!("runs {running} invocations; the limit is {most} (max_concurrent_invocations)")
        }
        Verdict::Full { percent } => {
            let most = block.capacity_used.unwrap_or_default();
            format!(
                "would have {percent} % of its memory in use; at most {most} % is allowed (capacity_used)"
            )
        }
        Verdict::MemoryUnknown => "its memory is unknown, so capacity_used cannot be checked".to_owned(),
        Verdict::Affinity { term } => match block.affinity.get(*term as usize) {
            Some(term) if term.wanted => format!("runs nothing tagged {:?} (affinity)", term.tag),
            Some(term) => format!("runs something tagged {:?} (affinity)", term.tag),
            None => "its affinity does not hold".to_owned(),
        },
    }
}

/// Why a worker was chosen, or none, in one sentence.
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
        Err(Refusal::NoValidWorkers) => format!("no worker: {by} allows none of the workers"),
        Err(Refusal::NoWorkers) if names.is_empty() => "no worker: none has joined".to_owned(),
        Err(Refusal::NoWorkers) => "no worker: all of them are draining".to_owned(),
    }
}

/// The block of a script that gave the worker.
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
