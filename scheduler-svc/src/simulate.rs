//! A load placed on workers that exist only here. Pure: no IO, and no clock; the load has times of its own.
//!
//! It is the cluster that counts and the policy that chooses for real invocations, so that a simulation says
//! what a scheduler would do.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use mesh::Error;
use proto::scheduler::v1::{Report, SimulatedWorker, TimedInvocation, WorkerIdentity, WorkerLoad};
use rand::SeedableRng as _;
use rand::rngs::Xoshiro256PlusPlus;

use crate::cluster::{Cluster, Reservation};
use crate::policy::app::Script;
use crate::policy::{KB, Outcome, Requirements, choose};

/// The most workers of a simulation.
pub const MOST_WORKERS: usize = 10_000;
/// The most invocations of a simulation.
pub const MOST_INVOCATIONS: usize = 1_000_000;
/// Decisions between two looks at whether to go on.
const GO_ON_EVERY: usize = 16;

/// All functions' code. It is prepared everywhere.
static CODE: Bytes = Bytes::from_static(b"code");

/// What is simulated.
#[derive(Debug)]
pub struct Simulation<'a> {
    script: &'a Script,
    workers: &'a [SimulatedWorker],
    load: &'a [TimedInvocation],
    seed: u64,
}

/// Where each invocation was placed.
#[derive(Debug, PartialEq, Eq)]
pub struct Placements {
    /// The workers' names, whose indices the outcomes have.
    pub names: Arc<[Arc<str>]>,
    /// Each invocation of the load by its index, in the order in which they were placed.
    pub placed: Vec<(u32, Outcome)>,
}

impl<'a> Simulation<'a> {
    /// A simulation of `load` on `workers`. The strategy `random` draws from a generator with this seed, as
    /// in a scheduler. Refuses, with its name, a field that makes no sense.
    pub fn new(
        script: &'a Script,
        workers: &'a [SimulatedWorker],
        load: &'a [TimedInvocation],
        seed: u64,
    ) -> Result<Self, Error> {
        let too_many = |field: &str, count: usize, most: usize| {
            (count > most)
                .then(|| (field.to_owned(), format!("has {count} entries; at most {most} are taken")))
        };
        let counts = [
            too_many("workers", workers.len(), MOST_WORKERS),
            too_many("load", load.len(), MOST_INVOCATIONS),
        ];
        let mut wrong = counts.into_iter().flatten().peekable();
        if wrong.peek().is_some() {
            return Err(Error::fields(wrong));
        }
        let mut wrong = wrong_workers(workers).chain(wrong_invocations(load)).peekable();
        match wrong.peek() {
            Some(_) => Err(Error::fields(wrong)),
            None => Ok(Self { script, workers, load, seed }),
        }
    }

    /// Places the load. `now` is any moment: nothing depends on it. `None`: `go_on`, which is asked now and
    /// then, said no.
    pub fn run(&self, now: Instant, go_on: impl Fn() -> bool) -> Option<Placements> {
        let mut cluster = self.cluster(now);
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(self.seed);
        let mut begins: Vec<_> = (0..).zip(self.load).collect();
        // Stable: of the same moment in the order given.
        begins.sort_by_key(|(_, invocation)| invocation.at_ns);
        // By the moment, then in the order given.
        let mut ends: BTreeMap<(u64, u32), Reservation> = BTreeMap::new();
        let mut placed = Vec::with_capacity(begins.len());
        for (count, (index, invocation)) in begins.into_iter().enumerate() {
            if count.is_multiple_of(GO_ON_EVERY) && !go_on() {
                return None;
            }
            // Ends come before beginnings.
            while let Some(end) = ends.first_entry().filter(|end| end.key().0 <= invocation.at_ns) {
                cluster.release(&end.remove());
            }
            let capacity = capacity(invocation);
            let requirements = Requirements { tag: &invocation.tag, capacity, code: &CODE };
            let outcome = choose(self.script, &requirements, cluster.workers(), &[], &mut rng).outcome;
            if let Ok(worker) = outcome {
                let (reservation, ()) = cluster.reserve(worker, &invocation.tag, capacity);
                if let Some(duration) = invocation.duration_ns {
                    ends.insert((invocation.at_ns.saturating_add(duration), index), reservation);
                }
            }
            placed.push((index, outcome));
        }
        Some(Placements { names: Arc::clone(cluster.names()), placed })
    }

    /// All workers, as they are when nothing runs.
    fn cluster(&self, now: Instant) -> Cluster<()> {
        let mut cluster = Cluster::new(String::new());
        for worker in self.workers {
            let identity = WorkerIdentity {
                name: worker.name.clone(),
                id: worker.name.clone(),
                ..WorkerIdentity::default()
            };
            let load = WorkerLoad {
                memory_total: worker.memory_total,
                memory_available: worker.memory_available.unwrap_or(worker.memory_total),
                ..WorkerLoad::default()
            };
            let report = Report { load: Some(load), code_ready: vec![CODE.clone()], ..Report::default() };
            cluster.join(identity, report, (), now);
        }
        cluster
    }
}

/// In bytes.
fn capacity(invocation: &TimedInvocation) -> u64 {
    let kb = match invocation.capacity_kb {
        0 => proto::DEFAULT_CAPACITY_KB,
        kb => kb,
    };
    kb.saturating_mul(KB)
}

/// The fields of workers that make no sense, each with what is wrong.
fn wrong_workers(workers: &[SimulatedWorker]) -> impl Iterator<Item = (String, String)> {
    let mut known = HashMap::new();
    workers.iter().enumerate().flat_map(move |(index, worker)| {
        let field = |field: &str| format!("workers[{index}].{field}");
        let name = match known.insert(&worker.name, index) {
            _ if worker.name.is_empty() => Some((field("name"), "can't be blank".to_owned())),
            Some(other) => {
                Some((field("name"), format!("{:?} is the name of workers[{other}]", worker.name)))
            }
            None => None,
        };
        let memory = worker.memory_available.filter(|available| *available > worker.memory_total);
        let memory = memory.map(|available| {
            let why = format!("{available} is more than memory_total, which is {}", worker.memory_total);
            (field("memory_available"), why)
        });
        name.into_iter().chain(memory)
    })
}

/// The fields of invocations that make no sense, each with what is wrong.
fn wrong_invocations(load: &[TimedInvocation]) -> impl Iterator<Item = (String, String)> {
    load.iter().enumerate().filter_map(|(index, invocation)| {
        let TimedInvocation { at_ns, duration_ns, .. } = invocation;
        let never_ends = duration_ns.is_some_and(|duration| at_ns.checked_add(duration).is_none());
        let why = || format!("is too long: it would end after {} ns", u64::MAX);
        never_ends.then(|| (format!("load[{index}].duration_ns"), why()))
    })
}

#[cfg(test)]
mod tests;
