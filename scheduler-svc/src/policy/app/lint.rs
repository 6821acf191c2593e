//! Warnings about scripts that are valid.

use std::collections::HashSet;
use std::sync::Arc;

use super::problem::{Problem, ProblemKind, in_order, quoted};
use super::script::{Affinity, Block, Item, Script, Workers};

/// The warnings about a script while the workers have these names, in the order of the text. Of too many only
/// the first.
pub fn lint(script: &Script, names: &[Arc<str>]) -> Vec<Problem> {
    let names: HashSet<&str> = names.iter().map(|name| &**name).collect();
    in_order(script.items.iter().flat_map(|item| lint_item(item, &names)).collect())
}

fn lint_item(item: &Item, names: &HashSet<&str>) -> Vec<Problem> {
    let mut warnings = Vec::new();
    let mut earlier: Vec<Candidates<'_>> = Vec::new();
    for (block, number) in item.blocks.iter().zip(1..) {
        let mut warn = |kind, position, what: String| {
            warnings.push(Problem::new(kind, Some(&item.tag), Some(number), position, what));
        };
        if let Workers::Named(named) = &block.workers {
            for named in named.iter().filter(|named| !names.contains(&*named.name)) {
                let what = format!("no worker is named {} now", quoted(&named.name));
                warn(ProblemKind::UnknownWorker, named.position, what);
            }
        }
        let candidates = Candidates::of(block);
        let contradictions = candidates.contradictions();
        for Affinity { tag, position, .. } in &contradictions {
            let tag = quoted(tag);
            let what = format!("no worker can run something tagged {tag} and nothing tagged {tag}");
            warn(ProblemKind::ContradictoryAffinity, *position, what);
        }
        let is_never_valid = block.max_concurrent_invocations == Some(0);
        if is_never_valid {
            let what = "the block never gives a worker: max_concurrent_invocations is 0";
            warn(ProblemKind::NeverValid, block.position, what.to_owned());
        }
        if contradictions.is_empty()
            && !is_never_valid
            && let Some(block_before) = candidates.shadowed_by(&earlier)
        {
            let what = format!(
                "the block never gives a worker: any that is valid for it is valid for {block_before}"
            );
            warn(ProblemKind::UnreachableBlock, block.position, what);
        }
        earlier.push(candidates);
    }
    warnings
}

/// The workers that can be valid for a block.
struct Candidates<'a> {
    block: &'a Block,
    /// In order. `None`: all.
    names: Option<Vec<&'a str>>,
    /// In order.
    affinity: Vec<(&'a str, bool)>,
}

impl<'a> Candidates<'a> {
    fn of(block: &'a Block) -> Self {
        let names = match &block.workers {
            Workers::All => None,
            Workers::Named(named) => Some(sorted(named.iter().map(|named| &*named.name))),
        };
        let affinity = sorted(block.affinity.iter().map(|term| (&*term.tag, term.wanted)));
        Self { block, names, affinity }
    }

    /// The terms that contradict an earlier one.
    fn contradictions(&self) -> Vec<&'a Affinity> {
        let mut before = HashSet::new();
        let terms = self.block.affinity.iter();
        let contradicts = |term: &&'a Affinity| {
            before.insert((&*term.tag, term.wanted));
            before.contains(&(&*term.tag, !term.wanted))
        };
        terms.filter(contradicts).collect()
    }

    /// The earlier blocks for which each worker is valid that is valid for this one.
    fn shadowed_by(&self, earlier: &[Self]) -> Option<String> {
        let laxer: Vec<_> = earlier.iter().zip(1..).filter(|(other, _)| other.is_laxer_than(self)).collect();
        let covers = |other: &Self| match (&other.names, &self.names) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(names), Some(own)) => is_subset(own, names),
        };
        if let Some((_, number)) = laxer.iter().find(|(other, _)| covers(other)) {
            return Some(format!("block {number}"));
        }
        // Not by one block, but each name by one of the blocks.
        let has = |name: &&str| {
            let names = laxer.iter().filter_map(|(other, _)| other.names.as_ref());
            names.into_iter().any(|names| names.binary_search(name).is_ok())
        };
        let own = self.names.as_ref()?;
        own.iter().all(has).then(|| "a block before it".to_owned())
    }

    /// Whether a worker named by both is valid for this block whenever it is valid for the other.
    fn is_laxer_than(&self, other: &Self) -> bool {
        fn is_laxer<T: PartialOrd>(limit: Option<T>, other: Option<T>) -> bool {
            limit.is_none_or(|limit| other.is_some_and(|other| limit >= other))
        }
        is_laxer(self.block.capacity_used, other.block.capacity_used)
            && is_laxer(self.block.max_concurrent_invocations, other.block.max_concurrent_invocations)
            && is_subset(&self.affinity, &other.affinity)
    }
}

fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<_> = items.collect();
    items.sort_unstable();
    items
}

/// Whether a sorted list contains each item of another.
fn is_subset<T: Ord>(items: &[T], of: &[T]) -> bool {
    let mut rest = of.iter();
    items.len() <= of.len() && items.iter().all(|item| rest.find(|other| *other >= item) == Some(item))
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::*;

    /// The warnings for a script while the workers are `a`, `b` and `c`.
    fn warnings(text: &str) -> Vec<Problem> {
        let script = parse(text).unwrap_or_else(|problems| panic!("{text}: {problems:?}"));
        lint(&script, &["a", "b", "c"].map(Arc::from))
    }

    /// The numbers of the blocks of one item that are unreachable, given what each block says.
    fn unreachable(blocks: &[&str]) -> Vec<u32> {
        let blocks: Vec<_> = blocks.iter().map(|block| format!("{{{block}}}")).collect();
        let warnings = warnings(&format!("- t: [{}]", blocks.join(", ")));
        let warnings = warnings.iter().filter(|warning| warning.kind == ProblemKind::UnreachableBlock);
        warnings.filter_map(|warning| warning.block).collect()
    }

    #[test]
    fn a_block_after_one_that_takes_all_of_its_workers_is_unreachable() {
        let all = "workers: '*'";
        let ab = "workers: [a, b]";
        let limit = |workers: &str, percent: u8, most: u32| {
            format!("{workers}, invalidate: {{capacity_used: {percent}, max_concurrent_invocations: {most}}}")
        };
        let like = |workers: &str, terms: &str| format!("{workers}, affinity: [{terms}]");
        let cases: Vec<(Vec<&str>, Vec<u32>)> = vec![
            (vec![all], vec![]),
            (vec![all, all], vec![2]),
            (vec![all, ab], vec![2]),
            (vec![ab, all], vec![]),
            (vec![ab, "workers: [b]"], vec![2]),
            (vec![ab, "workers: [b, a]", "workers: [c]"], vec![2]),
            (vec![ab, "workers: [b, c]"], vec![]),
            // Two blocks together.
            (vec!["workers: [a]", "workers: [b]", ab], vec![3]),
            (vec!["workers: [a]", "workers: [b]", "workers: [a, c]"], vec![]),
            // Who is not there now may come.
            (vec![ab, "workers: [a, later]"], vec![]),
            (vec!["workers: [a, b, c]", all], vec![]),
            // How one of the valid ones is taken changes nothing.
            (vec!["workers: '*', strategy: random", "workers: [a], strategy: platform"], vec![2]),
        ];
        for (blocks, expected) in cases {
            assert_eq!(unreachable(&blocks), expected, "{blocks:?}");
        }
        let cases = [
            // Limits: what the later one would take, the earlier one has to take.
            (limit(all, 50, 3), all.to_owned(), false),
            (limit(all, 50, 3), limit(ab, 50, 3), true),
            (limit(all, 50, 3), limit(ab, 40, 2), true),
            (limit(all, 50, 3), limit(ab, 51, 3), false),
            (limit(all, 50, 3), limit(ab, 50, 4), false),
            (all.to_owned(), limit(ab, 50, 4), true),
            // A worker of unknown memory is valid only without a limit of it.
            (format!("{all}, invalidate: {{capacity_used: 100}}"), all.to_owned(), false),
            // Affinity: the later one has to ask for all that the earlier one asks for.
            (like(all, "x"), all.to_owned(), false),
            (like(all, "x"), like(all, "'!x'"), false),
            (like(all, "x"), like(all, "y"), false),
            (like(all, "x, '!y'"), like(ab, "'!y', z, x"), true),
            (like(all, "x, '!y'"), like(ab, "x"), false),
            (all.to_owned(), like(all, "x"), true),
        ];
        for (earlier, later, expected) in &cases {
            assert_eq!(unreachable(&[earlier, later]) == [2], *expected, "{earlier}; {later}");
        }
    }

    #[test]
    fn blocks_of_different_items_do_not_shadow_each_other() {
        let text =
            "- t: [{workers: '*'}]\n  followup: default\n- default: [{workers: '*'}]\n  followup: default";
        assert_eq!(warnings(text), []);
    }

    #[test]
    fn warnings_say_what_they_are_about() {
        let text = "\
- t:
  - workers: [a, w9, b, w8]
    affinity: [x, \"!y\", \"!x\", y]
  - workers: \"*\"
  - workers: [c]
- u:
  - workers: [a]
  - workers: [b]
  - workers: [b, a]
";
        let found: Vec<_> = warnings(text)
            .into_iter()
            .map(|warning| {
                format!("{}:{} {}", warning.position.line, warning.position.column, warning.message)
            })
            .collect();
        let expected = [
            r#"2:18 unknown_worker: tag "t", block 1, line 2: no worker is named "w9" now"#,
            r#"2:25 unknown_worker: tag "t", block 1, line 2: no worker is named "w8" now"#,
            r#"3:25 contradictory_affinity: tag "t", block 1, line 3: no worker can run something tagged "x" and nothing tagged "x""#,
            r#"3:31 contradictory_affinity: tag "t", block 1, line 3: no worker can run something tagged "y" and nothing tagged "y""#,
            r#"5:5 unreachable_block: tag "t", block 3, line 5: the block never gives a worker: any that is valid for it is valid for block 2"#,
            r#"9:5 unreachable_block: tag "u", block 3, line 9: the block never gives a worker: any that is valid for it is valid for a block before it"#,
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_block_that_no_worker_can_be_valid_for_is_not_called_unreachable_too() {
        for (block, kind) in [
            ("affinity: [x, '!x']", ProblemKind::ContradictoryAffinity),
            ("invalidate: {max_concurrent_invocations: 0}", ProblemKind::NeverValid),
        ] {
            let warnings = warnings(&format!("- t: [{{workers: '*'}}, {{workers: '*', {block}}}]"));
            let kinds: Vec<_> = warnings.iter().map(|warning| (warning.kind, warning.block)).collect();
            assert_eq!(kinds, [(kind, Some(2))], "{block}");
        }
    }

    #[test]
    fn limits_of_zero_and_of_more_than_everything() {
        let zero = "workers: '*', invalidate: {max_concurrent_invocations: 0}";
        assert_eq!(unreachable(&[zero, "workers: '*'"]), [0; 0], "the first one takes nobody");
        let more = "workers: '*', invalidate: {capacity_used: 101%}";
        assert_eq!(unreachable(&[more, "workers: '*'"]), [2], "the first one is without a limit");
        assert_eq!(warnings("- t: [{workers: '*', invalidate: {capacity_used: 101%}}]"), []);
    }
}
