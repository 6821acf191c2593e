//! Random scripts, clusters and functions, for tests of properties.

use std::collections::HashSet;
use std::hash::Hash;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::app::{self, Affinity, Block, DEFAULT_TAG, Followup, Item, Position, Script, WorkerName, Workers};
use super::testing::CODE;
use super::worker::{Memory, Worker};

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const TAGS: [&str; 4] = ["x", "y", "z", DEFAULT_TAG];

/// The tag and the capacity of a function.
pub fn requirements() -> impl Strategy<Value = (&'static str, u64)> {
    let tag = select(&["x", "y", "z", "", "unknown", DEFAULT_TAG][..]);
    (tag, prop_oneof![Just(0), 1..120_u64])
}

/// Workers ordered by name. Some names in scripts are not among them.
pub fn cluster() -> impl Strategy<Value = Vec<Worker>> {
    subsequence(&NAMES[..], 0..=5)
        .prop_flat_map(|names| names.into_iter().map(|name| worker(name).boxed()).collect::<Vec<_>>())
}

/// A worker with this name.
pub fn worker(name: &'static str) -> impl Strategy<Value = Worker> {
    let memory = (1..=200_u64, 0..=200_u64);
    let memory = memory.prop_map(|(total, available)| Memory { total, available: available.min(total) });
    let tags = vec((select(&["x", "y", "z", ""][..]), 1..3_u32), 0..3);
    (option::weighted(0.8, memory), tags, prop::bool::weighted(0.15), any::<bool>()).prop_map(
        move |(memory, tags, draining, is_warm)| {
            let mut worker = Worker { draining, ..Worker::new(name, memory) };
            for (tag, count) in tags {
                worker.running += count;
                worker.tags.add(tag, count);
            }
            worker.warm.extend(is_warm.then_some(CODE));
            worker
        },
    )
}

/// Names of workers on which an attempt failed.
pub fn tried() -> impl Strategy<Value = Vec<String>> {
    let names = subsequence(&NAMES[..], 0..=2);
    prop_oneof![Just(Vec::new()), names.prop_map(|names| names.into_iter().map(str::to_owned).collect())]
}

/// A script with few tags and workers, so that all its rules matter.
pub fn script() -> impl Strategy<Value = Script> {
    let tags = select(&TAGS[..]).prop_map(str::to_owned).boxed();
    script_of(tags, select(&NAMES[..]).prop_map(str::to_owned).boxed())
}

/// A script with these tags and worker names, without positions.
pub fn script_of(tags: BoxedStrategy<String>, names: BoxedStrategy<String>) -> impl Strategy<Value = Script> {
    let followup = select(&[Followup::Fail, Followup::Default][..]);
    let item = (tags.clone(), vec(block(tags, names), 1..5), followup)
        .prop_map(|(tag, blocks, followup)| Item { tag, blocks, followup, position: Position::default() });
    vec(item, 1..5).prop_map(|items| Script { items: each_once(items, |item| item.tag.clone()) })
}

fn block(tags: BoxedStrategy<String>, names: BoxedStrategy<String>) -> impl Strategy<Value = Block> {
    let named = vec(names.prop_map(|name| WorkerName { name, position: Position::default() }), 1..5);
    let named = named.prop_map(|named| Workers::Named(each_once(named, |named| named.name.clone())));
    let strategies = [app::Strategy::BestFirst, app::Strategy::Random, app::Strategy::Platform];
    let term = (tags, any::<bool>());
    let term = term.prop_map(|(tag, wanted)| Affinity { tag, wanted, position: Position::default() });
    let affinity = vec(term, 0..3);
    let affinity = affinity.prop_map(|terms| each_once(terms, |term| (term.tag.clone(), term.wanted)));
    (
        prop_oneof![Just(Workers::All), named],
        select(strategies.to_vec()),
        option::of(0..=100_u8),
        option::of(0..5_u32),
        affinity,
    )
        .prop_map(|(workers, strategy, capacity_used, max_concurrent_invocations, affinity)| Block {
            workers,
            strategy,
            capacity_used,
            max_concurrent_invocations,
            affinity,
            position: Position::default(),
        })
}

/// The first item of each key.
fn each_once<T, K: Eq + Hash>(mut items: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut seen = HashSet::new();
    items.retain(|item| seen.insert(key(item)));
    items
}
