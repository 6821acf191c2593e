//! What is doubtful in a script, although it can be used.

use std::collections::HashSet;
use std::sync::Arc;

use super::problem::quoted;
use super::{Affinity, Block, Item, Problem, ProblemKind, Script, Workers};

/// Says what is doubtful in a script while the workers have these names, in the order of the text.
pub fn lint(script: &Script, names: &[Arc<str>]) -> Vec<Problem> {
    let names: HashSet<&str> = names.iter().map(|name| &**name).collect();
    let mut warnings: Vec<_> = script.items.iter().flat_map(|item| lint_item(item, &names)).collect();
    warnings.sort_by_key(|warning| (warning.place.line, warning.place.column));
    warnings
}

fn lint_item(item: &Item, names: &HashSet<&str>) -> Vec<Problem> {
    let mut warnings = Vec::new();
    let mut earlier: Vec<Candidates<'_>> = Vec::new();
    for (block, number) in item.blocks.iter().zip(1..) {
        let mut warn = |kind, place, what: String| {
            warnings.push(Problem::new(kind, Some(&item.tag), Some(number), place, what));
        };
        if let Workers::Named(named) = &block.workers {
            for named in named.iter().filter(|named| !names.contains(&*named.name)) {
                let what = format!("no worker is called {} now", quoted(&named.name));
                warn(ProblemKind::UnknownWorker, named.place, what);
            }
        }
        let candidates = Candidates::of(block);
        let contradictions = candidates.contradictions();
        for Affinity { tag, place, .. } in &contradictions {
            let tag = quoted(tag);
            let what = format!("no worker can run something tagged {tag} and nothing tagged {tag}");
            warn(ProblemKind::ContradictoryAffinity, *place, what);
        }
        if contradictions.is_empty()
            && let Some(by) = candidates.taken_by(&earlier)
        {
            let what = format!("the block never gives a worker: {by} any that would be valid for it");
            warn(ProblemKind::UnreachableBlock, block.place, what);
        }
        earlier.push(candidates);
    }
    warnings
}

/// The workers that can be valid for a block.
struct Candidates<'a> {
    block: &'a Block,
    /// `None`: all.
    names: Option<HashSet<&'a str>>,
    affinity: HashSet<(&'a str, bool)>,
}

impl<'a> Candidates<'a> {
    fn of(block: &'a Block) -> Self {
        let names = match &block.workers {
            Workers::All => None,
            Workers::Named(named) => Some(named.iter().map(|named| &*named.name).collect()),
        };
        let affinity = block.affinity.iter().map(|term| (&*term.tag, term.wanted)).collect();
        Self { block, names, affinity }
    }

    /// The terms that exclude one before them.
    fn contradictions(&self) -> Vec<&'a Affinity> {
        let mut before = HashSet::new();
        let terms = self.block.affinity.iter();
        let contradicts = |term: &&'a Affinity| {
            before.insert((&*term.tag, term.wanted));
            before.contains(&(&*term.tag, !term.wanted))
        };
        terms.filter(contradicts).collect()
    }

    /// What takes each worker that is valid for this block, whatever the cluster is like.
    fn taken_by(&self, earlier: &[Self]) -> Option<String> {
        let laxer: Vec<_> = earlier.iter().zip(1..).filter(|(other, _)| other.is_laxer_than(self)).collect();
        let covers = |other: &Self| match (&other.names, &self.names) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(names), Some(own)) => own.is_subset(names),
        };
        if let Some((_, number)) = laxer.iter().find(|(other, _)| covers(other)) {
            return Some(format!("block {number} takes"));
        }
        // Not one of them alone, but each name by one of them.
        let has = |name: &str| {
            laxer.iter().any(|(other, _)| other.names.as_ref().is_some_and(|names| names.contains(name)))
        };
        let own = self.names.as_ref()?;
        own.iter().all(|name| has(name)).then(|| "the blocks before it take".to_owned())
    }

    /// Whether a worker that both name is valid for this block whenever it is for the other.
    fn is_laxer_than(&self, other: &Self) -> bool {
        fn is_laxer<T: PartialOrd>(limit: Option<T>, other: Option<T>) -> bool {
            limit.is_none_or(|limit| other.is_some_and(|other| limit >= other))
        }
        is_laxer(self.block.capacity_used, other.block.capacity_used)
            && is_laxer(self.block.max_concurrent_invocations, other.block.max_concurrent_invocations)
            && self.affinity.is_subset(&other.affinity)
    }
}
