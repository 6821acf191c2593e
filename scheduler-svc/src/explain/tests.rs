use std::fmt::Write as _;
use std::time::Instant;

use proptest::prelude::*;
use proto::registry::v1::{Function, Metadata};
use rand::SeedableRng as _;
use rand::rngs::Xoshiro256PlusPlus;

use super::*;
use crate::invocation::Policy;
use crate::policy::app::Script;
use crate::policy::testing::{CODE, cluster, script};
use crate::policy::{Memory, Requirements, Worker, arbitrary, choose};

/// A decision for a function with this tag. The default policy has no name.
fn decision(
    policy: (Option<&str>, Script),
    (tag, capacity_kb): (&str, u64),
    workers: &[Worker],
    tried: &[String],
) -> Decision {
    let (name, script) = policy;
    let requirements = Requirements { tag, capacity: capacity_kb * KB, code: &CODE };
    let choice = choose(&script, &requirements, workers, tried, &mut Xoshiro256PlusPlus::seed_from_u64(1));
    let metadata = Metadata { tag: tag.into(), capacity_kb, ..Metadata::default() };
    let function =
        Function { module: "m".into(), name: "f".into(), metadata: Some(metadata), ..Function::default() };
    Decision {
        function: Arc::new(function),
        policy: Policy { name: name.map(Arc::from), script: Arc::new(script) },
        names: workers.iter().map(|worker| Arc::clone(&worker.name)).collect(),
        choice: Arc::new(choice),
        at_ms: 5,
        at: Instant::now(),
        ended: None,
    }
}

fn cluster_kb(text: &str) -> Vec<Worker> {
    in_kb(cluster(text))
}

/// Takes what is said of memory for KB.
fn in_kb(mut workers: Vec<Worker>) -> Vec<Worker> {
    for Memory { total, available } in workers.iter_mut().filter_map(|worker| worker.memory.as_mut()) {
        (*total, *available) = (*total * KB, *available * KB);
    }
    workers
}

/// An explanation on a few lines.
fn lines_of(explanation: &Explanation) -> String {
    let mut text = format!("{}\n", explanation.summary);
    for item in &explanation.items {
        let _ = writeln!(text, "{} ({})", item.tag, item.followup);
        for block in &item.blocks {
            let _ = writeln!(text, "  {} {}", block.number, block.strategy);
            for ExplainedWorker { worker, reason, .. } in &block.workers {
                let _ = writeln!(text, "    {worker}: {reason}");
            }
        }
    }
    text
}

#[track_caller]
fn check(decision: &Decision, expected: &str) {
    let explanation = explain("id".into(), decision);
    assert_eq!(lines_of(&explanation).trim(), expected.trim());
}

const SCRIPT: &str = "\
- t:
  - workers: [nobody, d, a, b, c, e, f]
    strategy: random
    invalidate: {capacity_used: 50%, max_concurrent_invocations: 2}
    affinity: ['!y', x]
  - workers: [f]
    affinity: ['!z']
  followup: default
- default:
  - workers: [h, a, g]
  - workers: '*'
";

#[test]
fn every_verdict_has_its_words() {
    let workers = cluster_kb("a 9/99, b 99/99 x=2, c 50/100, d 99/99 drains, e ?, f 99/99 z=1, g ?, h 9/9");
    let policy = (Some("s"), script(SCRIPT));
    check(
        &decision(policy, ("t", 10), &workers, &["a".to_owned()]),
        r#"
g: chosen by the script s, block 1 of "default" (best-first)
t (default)
  1 random
    nobody: no worker has this name
    d: it is draining
    a: an earlier attempt of this invocation failed there
    b: runs 2 invocations; the limit is 2 (max_concurrent_invocations)
    c: would have 60 % of its memory in use; at most 50 % is allowed (capacity_used)
    e: its memory is unknown, so capacity_used cannot be checked
    f: runs nothing tagged "x" (affinity)
  2 best-first
    f: runs something tagged "z" (affinity)
default (fail)
  1 best-first
    h: has 9 KB available, 10 KB are needed
    a: an earlier attempt of this invocation failed there
    g: its memory is unknown and counts as 0 KB available
  2 best-first
    a: a worker was chosen before it
    b: a worker was chosen before it
    c: a worker was chosen before it
    d: a worker was chosen before it
    e: a worker was chosen before it
    f: a worker was chosen before it
    g: a worker was chosen before it
    h: a worker was chosen before it
"#,
    );
}

#[test]
fn a_limit_of_zero_is_explained() {
    let policy = (Some("s"), script("- t: [{workers: [a], invalidate: {max_concurrent_invocations: 0}}]"));
    check(
        &decision(policy, ("t", 10), &cluster_kb("a 20/99"), &[]),
        "
no worker: the script s allows none of the workers
t (fail)
  1 best-first
    a: may run nothing: max_concurrent_invocations is 0
",
    );
}

#[test]
fn the_verdicts_are_those_of_the_evaluation() {
    let workers = cluster_kb("a 20/99, b 5/99, c 30/99, d 30/99");
    let policy = (Some("s"), script("- t: [{workers: [b]}, {workers: [c, b, a, d, e], strategy: platform}]"));
    let explanation = explain("id".into(), &decision(policy, ("t", 10), &workers, &[]));
    let block = &explanation.items[0].blocks[1];
    let verdicts: Vec<_> = block.workers.iter().map(|worker| (&*worker.worker, worker.verdict())).collect();
    let expected = [
        ("c", wire::Verdict::Chosen),
        ("b", wire::Verdict::Invalid),
        ("a", wire::Verdict::Valid),
        ("d", wire::Verdict::Valid),
        ("e", wire::Verdict::Invalid),
    ];
    assert_eq!(verdicts, expected);
    assert_eq!(explanation.worker, "c");
    assert_eq!(explanation.summary, "c: chosen by the script s, block 2 of \"t\" (platform)");
}

#[test]
fn an_explanation_has_all_of_the_decision() {
    let workers = cluster_kb("a 20/99");
    let made = decision((Some("s"), script(SCRIPT)), ("u", 10), &workers, &[]);
    let explanation = Explanation { items: Vec::new(), ..explain("id".into(), &made) };
    let expected = Explanation {
        decision_id: "id".into(),
        at_ms: 5,
        module: "m".into(),
        function: "f".into(),
        tag: "u".into(),
        capacity_kb: 10,
        script: "s".into(),
        items: Vec::new(),
        worker: "a".into(),
        refusal: String::new(),
        summary: "a: chosen by the script s, block 1 of \"default\" (best-first)".into(),
    };
    assert_eq!(explanation, expected);
}

#[test]
fn the_default_policy_has_one_block_and_no_tag() {
    let platform = || (None, Script::platform());
    check(
        &decision(platform(), ("t", 10), &cluster_kb("a 20/99, b 30/99, c 5/9"), &[]),
        "
b: the default policy takes the worker with the most memory available
 (fail)
  1 platform
    a: has 20 KB available
    b: has 30 KB available
    c: has 5 KB available, 10 KB are needed
",
    );
    let none = explain(String::new(), &decision(platform(), ("t", 10), &cluster_kb("a 5/9"), &[]));
    assert_eq!(none.summary, "no worker: the default policy allows none of the workers");
    assert_eq!((&*none.refusal, &*none.worker, &*none.script), ("no_valid_workers", "", ""));
}

#[test]
fn a_refusal_says_why() {
    let named = || (Some("s"), script("- t: [{workers: [a]}, {workers: [b]}]"));
    for (workers, tag, summary, refusal, items) in [
        ("", "t", "no worker: none has joined", "no_workers", 0),
        ("a 9/9 drains", "t", "no worker: all of them are draining", "no_workers", 0),
        (
            "a 20/99",
            "u",
            "no worker: the script s has no item for the tag \"u\", and no default",
            "no_matching_tag",
            0,
        ),
        ("a 9/9", "t", "no worker: the script s allows none of the workers", "no_valid_workers", 1),
    ] {
        let explanation = explain(String::new(), &decision(named(), (tag, 10), &cluster_kb(workers), &[]));
        assert_eq!((&*explanation.summary, &*explanation.refusal), (summary, refusal));
        assert_eq!((explanation.items.len(), &*explanation.worker), (items, ""));
    }
}

#[test]
fn the_followup_is_explained_only_if_it_was_evaluated() {
    let workers = cluster_kb("a 20/99, f 99/99 x=1");
    let followed = |tag| {
        let explanation =
            explain(String::new(), &decision((Some("s"), script(SCRIPT)), (tag, 10), &workers, &[]));
        explanation.items.into_iter().map(|item| item.tag).collect::<Vec<_>>()
    };
    assert_eq!(followed("t"), ["t"], "f is valid for it");
    assert_eq!(followed("u"), ["default"]);
    let none =
        explain(String::new(), &decision((Some("s"), script(SCRIPT)), ("t", 10), &cluster_kb("a 9/9"), &[]));
    let tags: Vec<_> = none.items.iter().map(|item| &*item.tag).collect();
    assert_eq!(tags, ["t", "default"]);
}

proptest! {
    #[test]
    fn exactly_the_choice_is_called_chosen(
        script in arbitrary::script(),
        workers in arbitrary::cluster().prop_map(in_kb),
        (tag, capacity) in arbitrary::requirements(),
        tried in arbitrary::tried(),
    ) {
        let decision = decision((Some("s"), script), (tag, capacity), &workers, &tried);
        let explanation = explain("id".into(), &decision);
        let blocks = || explanation.items.iter().flat_map(|item| &item.blocks);
        let all = || blocks().flat_map(|block| &block.workers);
        let chosen: Vec<_> = all()
            .filter(|worker| worker.verdict() == wire::Verdict::Chosen)
            .map(|worker| worker.worker.clone())
            .collect();
        let expected = decision.choice.outcome.ok().map(|index| workers[index as usize].name.to_string());
        prop_assert_eq!(chosen, Vec::from_iter(expected.clone()));
        prop_assert_eq!(&explanation.worker, &expected.unwrap_or_default());
        prop_assert_eq!(explanation.worker.is_empty(), !explanation.refusal.is_empty());
        prop_assert!(all().all(|worker| !worker.reason.is_empty()));
        // Nobody who is there is passed over: what was not reached comes after the choice.
        let is_there = |worker: &&ExplainedWorker| decision.names.iter().any(|name| **name == *worker.worker);
        let not_reached = all().filter(is_there).map(|worker| worker.verdict() == wire::Verdict::NotReached);
        prop_assert!(not_reached.is_sorted(), "{}", lines_of(&explanation));
        prop_assert!(explanation.items.len() <= 2);
    }
}
