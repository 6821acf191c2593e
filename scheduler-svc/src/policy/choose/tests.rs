use rand::SeedableRng as _;
use rand::rngs::Xoshiro256PlusPlus;

use super::*;
use crate::policy::testing::{CODE, cluster, script};
use crate::policy::{Memory, Step, Verdict};

/// The name of the worker that is chosen for a function with this tag and a capacity of 10, or why there is
/// none.
fn chosen(script: &Script, workers: &str, tag: &str, seed: u64) -> String {
    let workers = cluster(workers);
    let requirements = Requirements { tag, capacity: 10, code: &CODE };
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    match choose(script, &requirements, &workers, &[], &mut rng).outcome {
        Ok(index) => workers[index as usize].name.to_string(),
        Err(refusal) => refusal.as_str().to_owned(),
    }
}

/// Each case: a script, the function's tag, the workers, and the chosen one.
#[track_caller]
fn check(cases: &[(&str, &str, &str, &str)]) {
    for (text, tag, workers, expected) in cases {
        let script = script(text);
        assert_eq!(chosen(&script, workers, tag, 1), *expected, "{text}\n{tag} among {workers}");
    }
}

/// What one block for all tags chooses among these workers.
#[track_caller]
fn check_block(block: &str, cases: &[(&str, &str)]) {
    for (workers, expected) in cases {
        check(&[(&format!("- default: [{{{block}}}]"), "t", workers, expected)]);
    }
}

#[test]
fn the_tag_picks_the_item() {
    let both = "- t: [{workers: [a]}]\n- default: [{workers: [b]}]";
    let one = "- t: [{workers: [a]}]";
    let all = "a 10/10, b 10/10";
    check(&[
        (both, "t", all, "a"),
        (both, "u", all, "b"),
        (both, "", all, "b"),
        (both, "default", all, "b"),
        (one, "u", all, "no_matching_tag"),
        (one, "", all, "no_matching_tag"),
        (one, "T", all, "no_matching_tag"),
        // Without workers, that is the answer.
        (one, "u", "", "no_workers"),
        (one, "t", "", "no_workers"),
        (one, "t", "a 10/10 drains, b 10/10 drains", "no_workers"),
    ]);
}

#[test]
fn blocks_are_tried_in_order() {
    let blocks = "- t: [{workers: [c]}, {workers: [b]}, {workers: '*'}]";
    check(&[
        (blocks, "t", "a 10/10, b 10/10, c 10/10", "c"),
        (blocks, "t", "a 10/10, b 10/10, c 9/10", "b"),
        (blocks, "t", "a 10/10, b 9/10", "a"),
        (blocks, "t", "a 9/10, b 9/10, c 10/10 drains", "no_valid_workers"),
    ]);
}

#[test]
fn candidates_are_in_the_order_written_or_of_name() {
    check_block(
        "workers: [c, nobody, a, b]",
        &[
            ("a 10/10, b 10/10, c 10/10", "c"),
            ("a 10/10, b 10/10, c 9/10", "a"),
            ("b 10/10", "b"),
            ("d 10/10", "no_valid_workers"),
        ],
    );
    check_block("workers: '*'", &[("c 99/99, b 10/10, d 50/50", "b"), ("c 99/99, b 9/10, d 50/50", "c")]);
}

#[test]
fn workers_with_too_little_memory_are_not_valid() {
    check_block(
        "workers: '*'",
        &[("a 9/99, b 10/99", "b"), ("a 9/99", "no_valid_workers"), ("a 0/99, b ?", "b"), ("a ?", "a")],
    );
}

#[test]
fn max_concurrent_invocations_limits_what_runs() {
    check_block(
        "workers: '*', invalidate: {max_concurrent_invocations: 3}",
        &[
            ("a 99/99 t=2, b 99/99", "a"),
            ("a 99/99 t=3, b 99/99 u=1", "b"),
            // Whatever their tags are, and whoever sent them.
            ("a 99/99 t=1 u=2, b 99/99 =2", "b"),
            ("a 99/99 =3, b 99/99 v=4", "no_valid_workers"),
        ],
    );
    check_block(
        "workers: '*', invalidate: {max_concurrent_invocations: 0}",
        &[("a 99/99, b ?", "no_valid_workers")],
    );
}

#[test]
fn capacity_used_limits_the_memory_in_use() {
    // (total - available + 10) / total * 100 <= 50
    check_block(
        "workers: '*', invalidate: {capacity_used: 50%}",
        &[
            ("a 60/100, b 99/99", "a"),
            ("a 59/100, b 99/99", "b"),
            ("a 10/20", "no_valid_workers"),
            ("a 20/20", "a"),
            ("a 19/19", "no_valid_workers"),
            // Unknown memory is not valid with a limit.
            ("a ?, b 60/100", "b"),
        ],
    );
    check_block(
        "workers: '*', invalidate: {capacity_used: 100}",
        &[("a 10/100", "a"), ("a 9/100", "no_valid_workers"), ("a 10/10", "a")],
    );
    check_block("workers: '*', invalidate: {capacity_used: 0}", &[("a 100/100", "no_valid_workers")]);
    // More than 100 means no limit, so that unknown memory is valid.
    check_block(
        "workers: '*', invalidate: {capacity_used: 101%}",
        &[("a 10/100", "a"), ("a 9/100", "no_valid_workers"), ("a ?", "a")],
    );
    // No share of memory is too large to be told from another.
    let (most, less) = (u64::MAX, u64::MAX / 2);
    check_block(
        "workers: '*', invalidate: {capacity_used: 50%}",
        &[(&format!("a {less}/{most}, b 99/99"), "b"), (&format!("a {most}/{most}"), "a")],
    );
}

#[test]
fn both_invalidations_have_to_hold() {
    check_block(
        "workers: '*', invalidate: {capacity_used: 50%, max_concurrent_invocations: 1}",
        &[("a 60/100 t=1, b 59/100, c 60/100", "c"), ("a 60/100 t=1, b 59/100", "no_valid_workers")],
    );
}

#[test]
fn affinity_is_about_what_runs_there_now() {
    let (with, without) = ("a 99/99 x=1", "b 99/99 y=2");
    for (terms, expected) in [
        ("x", "a"),
        ("'!x'", "b"),
        ("y", "b"),
        ("'!y'", "a"),
        ("x, '!y'", "a"),
        ("y, '!x'", "b"),
        ("x, y", "no_valid_workers"),
        ("'!x', '!y'", "no_valid_workers"),
        ("z", "no_valid_workers"),
        ("'!z'", "a"),
        ("x, '!x'", "no_valid_workers"),
    ] {
        check_block(
            &format!("workers: '*', affinity: [{terms}]"),
            &[(&format!("{with}, {without}"), expected)],
        );
    }
    // The invocation itself does not count.
    check(&[("- t: [{workers: '*', affinity: [t]}]", "t", "a 99/99", "no_valid_workers")]);
    // A later block without the term makes it a preference.
    let preference = "- t: [{workers: '*', affinity: [x]}, {workers: '*'}]";
    check(&[(preference, "t", "a 99/99, b 99/99 x=1", "b"), (preference, "t", "a 99/99, b 9/99 x=1", "a")]);
}

#[test]
fn best_first_chooses_the_first_valid_worker() {
    check_block(
        "workers: [b, a], strategy: best-first",
        &[("a 99/99, b 10/99 t=9", "b"), ("a 99/99 warm, b 9/99", "a")],
    );
}

#[test]
fn random_chooses_any_with_equal_chance() {
    let script = script("- t: [{workers: [c, a, b, e], strategy: random}, {workers: '*'}]");
    let workers = "a 10/10, b 99/99 x=5, c 50/50 warm, d 99/99, e 9/10";
    let mut counts = std::collections::BTreeMap::new();
    for seed in 0..3000 {
        *counts.entry(chosen(&script, workers, "t", seed)).or_insert(0) += 1;
        assert_eq!(chosen(&script, workers, "t", seed), chosen(&script, workers, "t", seed), "{seed}");
    }
    assert_eq!(counts.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
    // Five standard deviations of a count around 1,000.
    assert!(counts.values().all(|count| (870..=1130).contains(count)), "{counts:?}");
    let none = "a 9/10, b 9/10, d 10/10";
    assert_eq!(chosen(&script, none, "t", 1), "d", "the next block is tried");
}

#[test]
fn platform_chooses_as_the_default_policy_does() {
    let equal = "a 50/99 x=3, b 50/99 x=1, c 50/99 x=1";
    let cases = [
        ("a 50/99, b 60/99, c 55/99", "b"),
        (equal, "b"),
        ("a 50/99 x=3, b 50/99 x=1, c 50/99 x=2 warm", "c"),
        ("a 50/99 x=3 warm, b 50/99 x=1, c 50/99 x=2 warm", "c"),
        ("a 50/99, b 51/99 x=9, c 50/99 warm", "b"),
        ("a ?, b 10/99", "b"),
        ("a ? x=1, b ?", "b"),
        ("a 99/99 drains, b 10/99", "b"),
        ("a 9/99", "no_valid_workers"),
        ("", "no_workers"),
    ];
    check_block("workers: '*', strategy: platform", &cases);
    for (workers, expected) in cases {
        assert_eq!(chosen(&Script::platform(), workers, "any", 1), expected, "default policy: {workers}");
    }
    check_block(
        "workers: [c, a], strategy: platform, invalidate: {max_concurrent_invocations: 2}",
        &[("a 50/99, b 99/99, c 40/99", "a"), ("a 50/99 x=2, b 99/99, c 40/99", "c"), (equal, "c")],
    );
}

#[test]
fn a_followup_tries_the_default_once() {
    let fails = "- t: [{workers: [a]}]\n- default: [{workers: [b]}]";
    let follows = "- t: [{workers: [a]}]\n  followup: default\n- default: [{workers: [x]}, {workers: [b]}]\n  followup: default";
    let alone = "- t: [{workers: [a]}]\n  followup: default";
    check(&[
        (fails, "t", "b 10/10", "no_valid_workers"),
        (follows, "t", "a 10/10, b 10/10", "a"),
        (follows, "t", "a 9/10, b 10/10", "b"),
        (follows, "t", "a 9/10, b 9/10", "no_valid_workers"),
        (follows, "u", "a 10/10, b 9/10", "no_valid_workers"),
        (follows, "default", "a 10/10", "no_valid_workers"),
        (alone, "t", "b 10/10", "no_valid_workers"),
    ]);
}

#[test]
fn a_worker_is_not_tried_twice() {
    let script = script("- t: [{workers: [a, b], strategy: best-first}]");
    let workers = cluster("a 10/10, b 10/10");
    let requirements = Requirements { tag: "t", capacity: 10, code: &CODE };
    let mut tried = Vec::new();
    for expected in [Ok("a"), Ok("b"), Err(Refusal::NoValidWorkers)] {
        let rng = &mut Xoshiro256PlusPlus::seed_from_u64(1);
        let outcome = choose(&script, &requirements, &workers, &tried, rng).outcome;
        let name = outcome.map(|index| &*workers[index as usize].name);
        assert_eq!(name, expected);
        tried.extend(name.ok().map(str::to_owned));
    }
}

#[test]
fn each_step_has_its_verdict() {
    let script = script(
        "- t:
  - workers: [nobody, d, a, b, c, e, f]
    invalidate: {capacity_used: 50%, max_concurrent_invocations: 2}
    affinity: ['!y', x]
  followup: default
- default:
  - workers: '*'
",
    );
    let workers = cluster("a 9/99, b 99/99 x=2, c 98/190, d 99/99 drains, e ?, f 99/99 z=1, g 10/99");
    let requirements = Requirements { tag: "t", capacity: 10, code: &CODE };
    let choice = choose(
        &script,
        &requirements,
        &workers,
        &["a".to_owned()],
        &mut Xoshiro256PlusPlus::seed_from_u64(1),
    );
    let (own, followup) = (ItemUse::Own, ItemUse::Followup);
    let step = |item, worker, verdict| Step { item, block: 0, worker, verdict };
    let expected = [
        step(own, 3, Verdict::Draining),
        step(own, 0, Verdict::Tried),
        step(own, 1, Verdict::Busy { running: 2 }),
        step(own, 2, Verdict::Full { percent: 54 }),
        step(own, 4, Verdict::MemoryUnknown),
        step(own, 5, Verdict::Affinity { term: 1 }),
        step(followup, 0, Verdict::Tried),
        step(followup, 1, Verdict::Valid { available: Some(99) }),
    ];
    assert_eq!((choice.steps.iter().collect::<Vec<_>>(), choice.outcome), (expected.to_vec(), Ok(1)));
    let choice = choose(&script, &requirements, &workers, &[], &mut Xoshiro256PlusPlus::seed_from_u64(1));
    assert_eq!(
        choice.steps.iter().nth(1).expect("two steps"),
        step(own, 0, Verdict::NotEnoughMemory { available: 9 })
    );
}

#[test]
fn best_first_considers_no_more_than_it_has_to() {
    let script = script("- default: [{workers: '*'}]");
    let requirements = Requirements { tag: "", capacity: 10, code: &CODE };
    let memory = |available| Some(Memory { total: 100, available });
    for first in [0, 1, 7, 8, 9, 23, 24, 55, 56, 99] {
        // Every other worker after the first valid one is valid, too.
        let available = |index| if index < first || index % 2 != first % 2 { 9 } else { 10 };
        let workers: Vec<_> =
            (0..100).map(|index| Worker::new(&format!("w{index:02}"), memory(available(index)))).collect();
        let choice = choose(&script, &requirements, &workers, &[], &mut Xoshiro256PlusPlus::seed_from_u64(1));
        assert_eq!(choice.outcome, Ok(first));
        let considered: Vec<_> = choice.steps.iter().map(|step| step.worker).collect();
        assert_eq!(considered, (0..=first).collect::<Vec<_>>());
    }
}
