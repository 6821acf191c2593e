use std::collections::HashSet;

use proptest::prelude::*;
use proptest::sample::select;
use rand::SeedableRng as _;
use rand::rngs::Xoshiro256PlusPlus;

use super::*;
use crate::policy::app::{ProblemKind, Strategy, lint};
use crate::policy::arbitrary::{cluster, requirements, script, tried, worker};
use crate::policy::testing::CODE;
use crate::policy::{Memory, Step, Verdict};

/// Whether a worker is valid for a block, by the definition of the language, written independently of the
/// code under test.
fn is_valid(block: &Block, worker: &Worker, capacity: u64, tried: &[String]) -> bool {
    let fits = match worker.memory {
        Some(Memory { total, available }) => {
            let percent = (total - available + capacity) as f64 / total as f64 * 100.0;
            capacity <= available
                && block.capacity_used.is_none_or(|limit| percent <= f64::from(limit) + 1e-9)
        }
        None => block.capacity_used.is_none(),
    };
    let running: HashSet<&str> = worker.tags.iter().map(|(tag, _)| tag).collect();
    fits && !worker.draining
        && !tried.contains(&worker.name.to_string())
        && block.max_concurrent_invocations.is_none_or(|most| worker.running < most)
        && block.affinity.iter().all(|term| running.contains(term.tag.as_str()) == term.wanted)
}

/// The workers that are valid for a block, in the order in which they are tried.
fn valid<'a>(block: &Block, workers: &'a [Worker], capacity: u64, tried: &[String]) -> Vec<&'a Worker> {
    let candidates: Vec<&Worker> = match &block.workers {
        Workers::All => workers.iter().collect(),
        Workers::Named(named) => named
            .iter()
            .filter_map(|named| workers.iter().find(|worker| *worker.name == *named.name))
            .collect(),
    };
    candidates.into_iter().filter(|worker| is_valid(block, worker, capacity, tried)).collect()
}

/// The blocks that are tried for a tag. `None`: the script has no item for it.
fn blocks<'a>(script: &'a Script, tag: &str) -> Option<Vec<&'a Block>> {
    let of = |tag: &str| script.items.iter().find(|item| item.tag == tag);
    let item = if tag.is_empty() { of("default") } else { of(tag).or(of("default")) }?;
    let mut blocks: Vec<_> = item.blocks.iter().collect();
    if item.followup == Followup::Default && item.tag != "default" {
        blocks.extend(of("default").into_iter().flat_map(|item| &item.blocks));
    }
    Some(blocks)
}

/// The item of a step.
fn item_of<'a>(script: &'a Script, tag: &str, step: &Step) -> &'a Item {
    let item = match step.item {
        ItemUse::Own => script.item_for(tag),
        ItemUse::Followup => script.item(DEFAULT_TAG),
    };
    item.expect("it was evaluated")
}

fn rng(seed: u64) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(seed)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_choice_is_what_the_language_says(
        script in script(), workers in cluster(), (tag, capacity) in requirements(), tried in tried(), seed: u64,
    ) {
        let requirements = Requirements { tag, capacity, code: &CODE };
        let outcome = choose(&script, &requirements, &workers, &tried, &mut rng(seed)).outcome;
        let chosen = outcome.map(|index| &workers[index as usize]);
        let Some(blocks) = blocks(&script, tag) else {
            let none = workers.iter().all(|worker| worker.draining);
            let expected = if none { Refusal::NoWorkers } else { Refusal::NoMatchingTag };
            prop_assert_eq!(outcome, Err(expected));
            return Ok(());
        };
        let first = blocks.iter().find_map(|block| {
            let valid = valid(block, &workers, capacity, &tried);
            (!valid.is_empty()).then_some((block, valid))
        });
        let Some((block, valid)) = first else {
            let none = workers.iter().all(|worker| worker.draining);
            let expected = if none { Refusal::NoWorkers } else { Refusal::NoValidWorkers };
            prop_assert_eq!(outcome, Err(expected));
            return Ok(());
        };
        let chosen = chosen.expect("a worker is valid");
        prop_assert!(valid.iter().any(|worker| worker.name == chosen.name), "{} is not valid", chosen.name);
        for term in &block.affinity {
            prop_assert_eq!(chosen.tags.of(&term.tag) > 0, term.wanted, "{} on {}", term, chosen.name);
        }
        match block.strategy {
            Strategy::Random => {}
            Strategy::BestFirst => prop_assert_eq!(&chosen.name, &valid[0].name),
            Strategy::Platform => {
                let rank = |worker: &Worker| {
                    let warm = worker.warm.contains(&CODE);
                    (worker.available(), warm, std::cmp::Reverse((worker.running, worker.name.clone())))
                };
                let best = valid.iter().max_by_key(|worker| rank(worker)).expect("one is valid");
                prop_assert_eq!(&chosen.name, &best.name);
            }
        }
    }

    #[test]
    fn an_invalid_worker_changes_nothing(
        script in script(),
        workers in cluster(),
        (tag, capacity) in requirements(),
        added in worker(""),
        name in select(&["a", "b", "c", "d", "e", "f", "g"][..]),
        drains: bool,
        seed: u64,
    ) {
        let available = capacity.saturating_sub(1);
        let too_little = Some(Memory { total: 1000, available });
        let invalid = match drains || capacity == 0 {
            true => Worker { name: name.into(), draining: true, ..added },
            false => Worker { name: name.into(), memory: too_little, ..added },
        };
        let without: Vec<_> = workers.into_iter().filter(|worker| *worker.name != *name).collect();
        let mut with = without.clone();
        with.insert(with.partition_point(|worker| *worker.name < *name), invalid);
        let requirements = Requirements { tag, capacity, code: &CODE };
        let (mut rng_without, mut rng_with) = (rng(seed), rng(seed));
        let before = choose(&script, &requirements, &without, &[], &mut rng_without).outcome;
        let after = choose(&script, &requirements, &with, &[], &mut rng_with).outcome;
        let named = |workers: &[Worker], index: u32| workers[index as usize].name.clone();
        match before {
            // A worker has joined, if only with too little memory.
            Err(Refusal::NoWorkers) => prop_assert!(after.is_err()),
            before => prop_assert_eq!(
                before.map(|index| named(&without, index)),
                after.map(|index| named(&with, index))
            ),
        }
        prop_assert_eq!(rng_without, rng_with, "the generator is used in the same way");
    }

    #[test]
    fn the_steps_are_those_of_the_evaluation(
        script in script(), workers in cluster(), (tag, capacity) in requirements(), tried in tried(), seed: u64,
    ) {
        let requirements = Requirements { tag, capacity, code: &CODE };
        let Choice { outcome, steps } = choose(&script, &requirements, &workers, &tried, &mut rng(seed));
        let order: Vec<_> = steps.iter().map(|step| (step.item == ItemUse::Followup, step.block)).collect();
        prop_assert!(order.is_sorted(), "{:?}", order);
        let considered: HashSet<_> =
            steps.iter().map(|step| (&item_of(&script, tag, &step).tag, step.block, step.worker)).collect();
        prop_assert_eq!(considered.len(), steps.len(), "no worker is considered twice: {:?}", steps);
        for step in steps.iter() {
            let block = &item_of(&script, tag, &step).blocks[usize::from(step.block)];
            let worker = &workers[step.worker as usize];
            let expected = is_valid(block, worker, capacity, &tried);
            prop_assert_eq!(matches!(step.verdict, Verdict::Valid { .. }), expected, "{:?}", step);
        }
        let valid: Vec<Step> =
            steps.iter().filter(|step| matches!(step.verdict, Verdict::Valid { .. })).collect();
        match outcome {
            Ok(chosen) => {
                prop_assert!(valid.iter().any(|step| step.worker == chosen));
                let last = steps.last().expect("a worker was considered");
                let in_last = |step: &Step| (step.item, step.block) == (last.item, last.block);
                prop_assert!(valid.iter().all(in_last), "a valid one was passed over: {:?}", steps);
            }
            Err(_) => prop_assert!(valid.is_empty()),
        }
    }

    #[test]
    fn a_block_that_lint_calls_unreachable_gives_no_worker(
        script in script(), workers in cluster(), (tag, capacity) in requirements(), seed: u64,
    ) {
        let names: Vec<_> = workers.iter().map(|worker| worker.name.clone()).collect();
        let dead: HashSet<_> = lint(&script, &names)
            .into_iter()
            .filter(|warning| warning.kind != ProblemKind::UnknownWorker)
            .map(|warning| (warning.tag.expect("in an item"), warning.block.expect("in a block")))
            .collect();
        let requirements = Requirements { tag, capacity, code: &CODE };
        for step in choose(&script, &requirements, &workers, &[], &mut rng(seed)).steps.iter() {
            let item = item_of(&script, tag, &step);
            if dead.contains(&(item.tag.clone(), u32::from(step.block) + 1)) {
                prop_assert!(!matches!(step.verdict, Verdict::Valid { .. }), "{:?}", step);
            }
        }
    }
}
