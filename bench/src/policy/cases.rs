//! The measured policies, and the functions that they place.

use std::sync::Arc;

use bytes::Bytes;
use proto::registry::v1::{Code, Function, Metadata};
use scheduler_svc::policy::app::{
    Affinity, Block, DEFAULT_TAG, Item, Position, Script, Strategy, WorkerName, Workers,
};
use scheduler_svc::{PendingInvocation, Policy};

const FUNCTIONS: usize = 20;
const TAGS: usize = 5;
/// The capacities of the functions, in KB; 172 MB on average.
const CAPACITIES_KB: [u64; 4] = [64 << 10, 128 << 10, 240 << 10, 256 << 10];
/// The number of workers that each block of the script `app-named` lists.
const NAMES: u32 = 20;
/// The index of the last of five blocks.
const LAST: u32 = 4;

/// A measured policy.
pub struct Case {
    pub name: &'static str,
    pub what: &'static str,
    /// The script for a number of workers. `None`: the default policy.
    script: Option<fn(u32) -> Script>,
    /// The workers that it may choose, out of this number of workers.
    takes: fn(u32) -> Vec<u32>,
    /// Nothing else runs, and all workers are identical.
    pub idle: bool,
}

impl Case {
    /// The indexes of the workers that it may choose, out of `workers` workers.
    pub fn takes(&self, workers: u32) -> Vec<u32> {
        (self.takes)(workers)
    }
}

/// All measured policies. Scripts have five blocks.
pub fn all() -> Vec<Case> {
    let takes = |workers| (0..workers).collect();
    let case =
        |name, what, script: fn(u32) -> Script| Case { name, what, script: Some(script), takes, idle: false };
    vec![
        Case {
            name: "default",
            what: "the default policy: checks all workers",
            script: None,
            takes,
            idle: false,
        },
        Case {
            name: "default-idle",
            what: "the same, with identical idle workers",
            script: None,
            takes,
            idle: true,
        },
        case("app", "best-first *: four blocks check all workers in vain, the last one matches", |_| {
            five(Strategy::BestFirst)
        }),
        case("app-platform", "the same with platform", |_| five(Strategy::Platform)),
        case("app-random", "the same with random", |_| five(Strategy::Random)),
        case("app-first", "best-first *: the first block matches", |_| first()),
        case("app-affinity", "platform *: two affinity terms in each block, the last block matches", |_| {
            affinities()
        }),
        Case {
            takes: |workers| named_in(LAST, workers).collect(),
            ..case("app-named", "best-first: each block names 20 workers, the last one matches", named)
        },
    ]
}

/// The functions to place, with the policy of `case`.
pub fn invocations(case: &Case, workers: u32) -> Vec<PendingInvocation> {
    let policy = match case.script {
        None => Policy { name: None, script: Arc::new(Script::platform()) },
        Some(script) => Policy { name: Some(case.name.into()), script: Arc::new(script(workers)) },
    };
    let invocation =
        |index: usize| PendingInvocation { function: Arc::new(function(index)), policy: policy.clone() };
    (0..FUNCTIONS).map(invocation).collect()
}

/// The name of a worker. Names sort by index.
pub fn worker_name(index: u32) -> String {
    format!("worker-{index:05}")
}

fn function(index: usize) -> Function {
    let metadata = Metadata {
        tag: format!("tag-{}", index % TAGS),
        capacity_kb: CAPACITIES_KB[index % CAPACITIES_KB.len()],
        ..Metadata::default()
    };
    let hash = Bytes::from(vec![u8::try_from(index).unwrap_or_default(); 32]);
    Function {
        id: format!("01900000-0000-7000-8000-0000000000{index:02}"),
        module: "bench".to_owned(),
        name: format!("function_{index}"),
        code: Some(Code { hash, ..Code::default() }),
        metadata: Some(metadata),
        ..Function::default()
    }
}

fn script(blocks: Vec<Block>) -> Script {
    // The item that matches all tags comes last, so that it has to be searched for.
    let other = |tag: &str| Item { tag: tag.to_owned(), blocks: vec![Block::default()], ..Item::default() };
    let item = Item { tag: DEFAULT_TAG.to_owned(), blocks, ..Item::default() };
    Script { items: vec![other("gpu"), other("edge"), other("batch"), item] }
}

/// No worker matches any of the first four blocks, each for a different reason.
fn five(strategy: Strategy) -> Script {
    let all = || Block { strategy, ..Block::default() };
    script(vec![
        Block { affinity: vec![affinity("absent", true)], ..all() },
        Block { max_concurrent_invocations: Some(0), ..all() },
        Block { capacity_used: Some(0), ..all() },
        Block { capacity_used: Some(100), affinity: vec![affinity("missing", true)], ..all() },
        Block { capacity_used: Some(90), max_concurrent_invocations: Some(200), ..all() },
    ])
}

fn first() -> Script {
    let block = || Block { capacity_used: Some(90), ..Block::default() };
    script((0..5).map(|_| block()).collect())
}

fn affinities() -> Script {
    let all = || Block { strategy: Strategy::Platform, ..Block::default() };
    let vain = |present: &str, absent: &str| Block {
        affinity: vec![affinity(present, false), affinity(absent, true)],
        ..all()
    };
    let last = Block { affinity: vec![affinity("absent", false), affinity("missing", false)], ..all() };
    script(vec![
        vain("tag-0", "absent"),
        vain("tag-1", "missing"),
        vain("tag-2", "absent"),
        vain("tag-3", "missing"),
        last,
    ])
}

/// Only the last block allows any invocations on its workers.
fn named(workers: u32) -> Script {
    let block = |number| Block {
        workers: Workers::Named(named_in(number, workers).map(named_worker).collect()),
        max_concurrent_invocations: Some(if number == LAST { 200 } else { 0 }),
        ..Block::default()
    };
    script((0..=LAST).map(block).collect())
}

/// The indexes of the workers that a block names, spread over all workers.
fn named_in(block: u32, workers: u32) -> impl Iterator<Item = u32> {
    let apart = (workers / ((LAST + 1) * NAMES)).max(1);
    (0..NAMES.min(workers)).map(move |position| (block * NAMES + position) * apart % workers)
}

fn named_worker(index: u32) -> WorkerName {
    WorkerName { name: worker_name(index), position: Position::default() }
}

fn affinity(tag: &str, wanted: bool) -> Affinity {
    Affinity { tag: tag.to_owned(), wanted, position: Position::default() }
}
