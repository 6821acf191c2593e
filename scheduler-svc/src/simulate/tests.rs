use std::cell::Cell;

use proptest::prelude::*;
use proptest::strategy::Strategy as Any;

use super::*;
use crate::policy::app::{
    Affinity, Block, DEFAULT_TAG, Followup, Item, Position, Strategy, WorkerName, Workers,
};
use crate::policy::{Memory, Worker};

fn script(items: Vec<Item>) -> Script {
    Script { items }
}

fn item(tag: &str, blocks: Vec<Block>) -> Item {
    Item { tag: tag.into(), blocks, ..Item::default() }
}

fn named(names: &[&str]) -> Block {
    let named = names.iter().map(|name| WorkerName { name: (*name).into(), position: Position::default() });
    Block { workers: Workers::Named(named.collect()), ..Block::default() }
}

fn affinity(tag: &str, wanted: bool) -> Affinity {
    Affinity { tag: tag.into(), wanted, position: Position::default() }
}

/// Workers with so much memory in KB.
fn workers(workers: &[(&str, u64)]) -> Vec<SimulatedWorker> {
    let worker = |&(name, kb): &(&str, u64)| SimulatedWorker {
        name: name.into(),
        memory_total: kb * KB,
        memory_available: None,
    };
    workers.iter().map(worker).collect()
}

/// From `at_ns` on, for so long; 0: for ever.
fn invocation(at_ns: u64, tag: &str, capacity_kb: u64, duration_ns: u64) -> TimedInvocation {
    let duration_ns = (duration_ns > 0).then_some(duration_ns);
    TimedInvocation { at_ns, tag: tag.into(), capacity_kb, duration_ns }
}

/// Where each was placed, in words: the invocation's index and the worker or the refusal.
fn placed(script: &Script, workers: &[SimulatedWorker], load: &[TimedInvocation], seed: u64) -> Vec<String> {
    let simulation = Simulation::new(script, workers, load, seed).expect("makes sense");
    let Placements { names, placed } = simulation.run(Instant::now(), || true).expect("ran to its end");
    let words = |(index, outcome): (u32, Outcome)| match outcome {
        Ok(worker) => format!("{index} {}", names[worker as usize]),
        Err(refusal) => format!("{index} {}", refusal.as_str()),
    };
    placed.into_iter().map(words).collect()
}

#[test]
fn of_the_same_moment_ends_come_first_and_then_the_order_given() {
    let load = [
        // The second takes the memory of the first the moment that it ends.
        invocation(10, "", 60, 10),
        invocation(20, "", 60, 10),
        // Given before what begins earlier.
        invocation(40, "", 30, 5),
        invocation(30, "", 60, 10),
        // Of the same moment: the third of them finds no room.
        invocation(50, "", 60, 10),
        invocation(50, "", 40, 10),
        invocation(50, "", 40, 10),
        invocation(59, "", 60, 1),
        invocation(60, "", 100, 1),
    ];
    let expected =
        ["0 a", "1 a", "3 a", "2 a", "4 a", "5 a", "6 no_valid_workers", "7 no_valid_workers", "8 a"];
    assert_eq!(placed(&Script::platform(), &workers(&[("a", 100)]), &load, 0), expected);
}

#[test]
fn what_takes_no_time_has_ended_when_the_next_begins() {
    let instant = || TimedInvocation { duration_ns: Some(0), ..invocation(5, "", 100, 0) };
    let load = [instant(), instant(), invocation(5, "", 100, 0), instant()];
    let expected = ["0 a", "1 a", "2 a", "3 no_valid_workers"];
    assert_eq!(placed(&Script::platform(), &workers(&[("a", 100)]), &load, 0), expected);
}

#[test]
fn the_default_policy_takes_the_worker_with_the_most_memory_left() {
    // Among equals the least busy, then the first by name; unknown memory counts as none.
    let mut workers = workers(&[("c", 100), ("b", 150), ("a", 100), ("x", 0)]);
    workers[1].memory_available = Some(140 * KB);
    let load: Vec<_> = (0..6).map(|at| invocation(at, "", 40, 0)).collect();
    assert_eq!(placed(&Script::platform(), &workers, &load, 0), ["0 b", "1 a", "2 c", "3 b", "4 a", "5 c"]);
    let too_large = [invocation(0, "", 1000, 0), invocation(1, "", 1000, 0)];
    assert_eq!(placed(&Script::platform(), &workers, &too_large, 0), ["0 x", "1 x"]);
}

#[test]
fn capacity_used_and_the_default_capacity() {
    let block = Block { capacity_used: Some(50), ..named(&["a", "b"]) };
    let script = script(vec![item(DEFAULT_TAG, vec![block])]);
    // 0 stands for 64: three of them are more than half of 300, four of 512 are just half.
    let load: Vec<_> = (0..7).map(|at| invocation(at, "", 0, 0)).collect();
    let expected = ["0 a", "1 a", "2 b", "3 b", "4 b", "5 b", "6 no_valid_workers"];
    assert_eq!(placed(&script, &workers(&[("a", 300), ("b", 512)]), &load, 0), expected);
}

#[test]
fn the_limit_of_concurrency_counts_what_runs_at_the_moment() {
    let block = Block { max_concurrent_invocations: Some(2), ..Block::default() };
    let script = script(vec![item(DEFAULT_TAG, vec![block])]);
    let load: Vec<_> = (0..6).map(|at| invocation(at, "", 1, 4)).collect();
    let expected = ["0 a", "1 a", "2 b", "3 b", "4 a", "5 a"];
    assert_eq!(placed(&script, &workers(&[("a", 100), ("b", 100)]), &load, 0), expected);
}

#[test]
fn affinity_goes_by_what_runs_at_the_moment() {
    let with = Block { affinity: vec![affinity("db", true)], ..Block::default() };
    let without = Block { affinity: vec![affinity("web", false)], ..named(&["b", "a"]) };
    let script = script(vec![item("web", vec![with]), item("db", vec![without])]);
    let load = [
        invocation(0, "web", 1, 0),
        invocation(1, "db", 1, 10),
        invocation(2, "web", 1, 5),
        invocation(3, "db", 1, 1),
        invocation(8, "db", 1, 1),
        invocation(12, "web", 1, 0),
    ];
    let expected = ["0 no_valid_workers", "1 b", "2 b", "3 a", "4 b", "5 no_valid_workers"];
    assert_eq!(placed(&script, &workers(&[("a", 100), ("b", 100)]), &load, 0), expected);
}

#[test]
fn a_followup_is_tried_once() {
    let full = || Block { max_concurrent_invocations: Some(1), ..named(&["a"]) };
    let item_for = |tag, followup| Item { followup, ..item(tag, vec![full()]) };
    let script = script(vec![
        item_for("soft", Followup::Default),
        item_for("hard", Followup::Fail),
        Item {
            followup: Followup::Default,
            ..item(
                DEFAULT_TAG,
                vec![Block { max_concurrent_invocations: Some(1), ..named(&["b", "nobody"]) }],
            )
        },
    ]);
    let load =
        [("hard", 0), ("hard", 1), ("soft", 2), ("soft", 3)].map(|(tag, at)| invocation(at, tag, 1, 0));
    let expected = ["0 a", "1 no_valid_workers", "2 b", "3 no_valid_workers"];
    assert_eq!(placed(&script, &workers(&[("a", 100), ("b", 100)]), &load, 0), expected);
}

#[test]
fn refusals_have_their_names() {
    let only_web = script(vec![item("web", vec![Block::default()])]);
    let load = [invocation(0, "other", 1, 0), invocation(0, "web", 1000, 0), invocation(0, "web", 1, 0)];
    let expected = ["0 no_matching_tag", "1 no_valid_workers", "2 a"];
    assert_eq!(placed(&only_web, &workers(&[("a", 100)]), &load, 0), expected);
    assert_eq!(placed(&only_web, &[], &load[..1], 0), ["0 no_workers"]);
    assert!(placed(&only_web, &[], &[], 0).is_empty());
}

#[test]
fn the_same_seed_makes_the_same_choices() {
    let block = Block { strategy: Strategy::Random, ..Block::default() };
    let script = script(vec![item(DEFAULT_TAG, vec![block])]);
    let workers = workers(&[("a", 1000), ("b", 1000), ("c", 1000)]);
    let load: Vec<_> = (0..64).map(|at| invocation(at, "", 1, 0)).collect();
    let with = |seed| placed(&script, &workers, &load, seed);
    assert_eq!(with(7), with(7));
    assert_ne!(with(7), with(8));
    for worker in ["a", "b", "c"] {
        assert!(with(7).iter().any(|line| line.ends_with(worker)), "{worker} is taken, too");
    }
}

#[test]
fn a_simulation_can_be_cancelled() {
    let load: Vec<_> = (0..1000).map(|at| invocation(at, "", 1, 1)).collect();
    let (script, workers) = (Script::platform(), workers(&[("a", 100)]));
    let simulation = Simulation::new(&script, &workers, &load, 0).expect("makes sense");
    let asked = Cell::new(0);
    let go_on = || {
        asked.set(asked.get() + 1);
        asked.get() < 3
    };
    assert_eq!(simulation.run(Instant::now(), go_on), None);
    assert_eq!(asked.get(), 3);
}

#[test]
fn invalid_fields_are_named() {
    let refused = |workers: &[SimulatedWorker], load: &[TimedInvocation]| {
        let error = Simulation::new(&Script::platform(), workers, load, 0).expect_err("refused");
        error.fields.into_iter().map(|(field, why)| format!("{field} {why}")).collect::<Vec<_>>()
    };
    let twice = workers(&[("a", 1), ("", 1), ("a", 1)]);
    assert_eq!(
        refused(&twice, &[]),
        ["workers[1].name can't be blank", "workers[2].name \"a\" is the name of workers[0]"]
    );
    let more = [SimulatedWorker { memory_available: Some(1025), ..workers(&[("a", 1)]).remove(0) }];
    assert_eq!(
        refused(&more, &[]),
        ["workers[0].memory_available 1025 is more than memory_total, which is 1024"]
    );
    let late = [invocation(0, "", 1, 1), invocation(u64::MAX - 1, "", 1, 2)];
    let expected = format!("load[1].duration_ns is too long: it would end after {} ns", u64::MAX);
    assert_eq!(refused(&[], &late), [expected]);
    let many: Vec<_> = (0..=MAX_WORKERS).map(|_| SimulatedWorker::default()).collect();
    assert_eq!(refused(&many, &[]), ["workers has 10001 entries; at most 10000 are allowed"]);
    let many = vec![TimedInvocation::default(); MAX_INVOCATIONS + 1];
    assert_eq!(refused(&[], &many), ["load has 1000001 entries; at most 1000000 are allowed"]);
}

/// Another way to the same placements: before each choice all that runs is put on fresh workers.
fn replay(
    script: &Script,
    specs: &[SimulatedWorker],
    load: &[TimedInvocation],
    seed: u64,
) -> Vec<(u32, Outcome)> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut specs = specs.to_vec();
    specs.sort_by(|a, b| a.name.cmp(&b.name));
    let mut order: Vec<usize> = (0..load.len()).collect();
    order.sort_by_key(|&index| (load[index].at_ns, index));
    let mut placed: Vec<(u32, Outcome)> = Vec::new();
    for index in order {
        let at = load[index].at_ns;
        let runs = |&&(earlier, outcome): &&(u32, Outcome)| {
            let earlier = &load[earlier as usize];
            outcome.is_ok() && earlier.duration_ns.is_none_or(|duration| earlier.at_ns + duration > at)
        };
        let mut now: Vec<Worker> = specs.iter().map(idle).collect();
        for &(earlier, outcome) in placed.iter().filter(runs) {
            let earlier = &load[earlier as usize];
            let worker = &mut now[outcome.expect("it runs") as usize];
            worker.running += 1;
            worker.tags.add(&earlier.tag, 1);
            if let Some(memory) = &mut worker.memory {
                memory.available = memory.available.saturating_sub(earlier.capacity_kb * KB);
            }
        }
        let requirements =
            Requirements { tag: &load[index].tag, capacity: load[index].capacity_kb * KB, code: &CODE };
        let outcome = choose(script, &requirements, &now, &[], &mut rng).outcome;
        placed.push((u32::try_from(index).expect("few"), outcome));
    }
    placed
}

fn idle(spec: &SimulatedWorker) -> Worker {
    let available = spec.memory_available.unwrap_or(spec.memory_total);
    let memory = (spec.memory_total > 0).then_some(Memory { total: spec.memory_total, available });
    let mut worker = Worker::new(&spec.name, memory);
    worker.warm.insert(CODE.clone());
    worker
}

fn any_tag() -> impl Any<Value = String> {
    prop::sample::select(vec!["", "t", "u", "v"]).prop_map(str::to_owned)
}

fn any_block() -> impl Any<Value = Block> {
    let workers = prop_oneof![
        Just(Workers::All),
        prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "d", "nobody"]), 1..4)
            .prop_map(|names| { named(&names).workers }),
    ];
    let strategy = prop::sample::select(vec![Strategy::BestFirst, Strategy::Random, Strategy::Platform]);
    let terms = prop::collection::vec((any_tag(), any::<bool>()), 0..2);
    (workers, strategy, prop::option::of(0..=100_u8), prop::option::of(0..4_u32), terms).prop_map(
        |(workers, strategy, capacity_used, max_concurrent_invocations, terms)| Block {
            workers,
            strategy,
            capacity_used,
            max_concurrent_invocations,
            affinity: terms.iter().map(|(tag, wanted)| affinity(tag, *wanted)).collect(),
            position: Position::default(),
        },
    )
}

fn any_item(tag: &'static str) -> impl Any<Value = Item> {
    let followup = prop::sample::select(vec![Followup::Fail, Followup::Default]);
    (prop::collection::vec(any_block(), 1..3), followup)
        .prop_map(move |(blocks, followup)| Item { followup, ..item(tag, blocks) })
}

fn any_worker(name: &'static str) -> impl Any<Value = SimulatedWorker> {
    (prop_oneof![Just(0), 1..500_u64], 0..=100_u64).prop_map(move |(kb, percent)| SimulatedWorker {
        name: name.into(),
        memory_total: kb * KB,
        memory_available: Some(kb * KB * percent / 100),
    })
}

proptest! {
    #[test]
    fn a_simulation_is_a_replay(
        items in (any_item("t"), any_item("u"), any_item(DEFAULT_TAG)),
        workers in (any_worker("d"), any_worker("a"), any_worker("c"), any_worker("b")),
        load in prop::collection::vec((0..50_u64, any_tag(), 1..200_u64, prop::option::of(0..20_u64)), 0..60),
        seed in any::<u64>(),
    ) {
        let script = script(vec![items.0, items.1, items.2]);
        let workers = [workers.0, workers.1, workers.2, workers.3];
        let load: Vec<_> = load
            .into_iter()
            .map(|(at_ns, tag, capacity_kb, duration_ns)| TimedInvocation { at_ns, tag, capacity_kb, duration_ns })
            .collect();
        let simulation = Simulation::new(&script, &workers, &load, seed).expect("makes sense");
        let simulated = simulation.run(Instant::now(), || true).expect("ran to its end");
        prop_assert_eq!(simulated.placed, replay(&script, &workers, &load, seed));
    }
}
