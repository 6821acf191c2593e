//! Simulates the placement of a load on given workers. Pure: no IO and no clock; the load has times of its
//! own.
//!
//! A simulation uses the cluster and the policies of real invocations, so it shows what a scheduler would do.

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
pub const MAX_WORKERS: usize = 10_000;
/// The most invocations of a simulation.
pub const MAX_INVOCATIONS: usize = 1_000_000;
/// Decisions between two checks for cancellation.
const CHECK_EVERY: usize = 16;

/// The code of all functions, prepared on all workers.
static CODE: Bytes = Bytes::from_static(b"code");

/// A simulation.
#[derive(Debug)]
pub struct Simulation<'a> {
    script: &'a Script,
    workers: &'a [SimulatedWorker],
    load: &'a [TimedInvocation],
    seed: u64,
}

/// The placements of a load.
#[derive(Debug, PartialEq, Eq)]
pub struct Placements {
    /// The workers' names, by the indices in the outcomes.
    pub names: Arc<[Arc<str>]>,
    /// The index of each invocation in the load with its outcome, in the order of placement.
    pub placed: Vec<(u32, Outcome)>,
}

impl<'a> Simulation<'a> {
    /// A simulation of `load` on `workers`. `seed` is that of the strategy `random`, as in a scheduler. The
    /// error names invalid fields.
    pub fn new(
        script: &'a Script,
        workers: &'a [SimulatedWorker],
        load: &'a [TimedInvocation],
        seed: u64,
    ) -> Result<Self, Error> {
        let too_many = |field: &str, count: usize, most: usize| {
            (count > most)
                .then(|| (field.to_owned(), format!("has {count} entries; at most {most} are allowed")))
        };
        let counts =
            [too_many("workers", workers.len(), MAX_WORKERS), too_many("load", load.len(), MAX_INVOCATIONS)];
        let mut invalid = counts.into_iter().flatten().peekable();
        if invalid.peek().is_some() {
            return Err(Error::fields(invalid));
        }
        let mut invalid = invalid_workers(workers).chain(invalid_invocations(load)).peekable();
        match invalid.peek() {
            Some(_) => Err(Error::fields(invalid)),
            None => Ok(Self { script, workers, load, seed }),
        }
    }

    /// Places the load. `now` may be any time; the outcome does not depend on it. `None`: cancelled, since
    /// `go_on` returned false.
    pub fn run(&self, now: Instant, go_on: impl Fn() -> bool) -> Option<Placements> {
        let mut cluster = self.cluster(now);
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(self.seed);
        let mut begins: Vec<_> = (0..).zip(self.load).collect();
        // Stable: invocations of the same time keep their order.
        begins.sort_by_key(|(_, invocation)| invocation.at_ns);
        // By time, then in the order of the load.
        let mut ends: BTreeMap<(u64, u32), Reservation> = BTreeMap::new();
        let mut placed = Vec::with_capacity(begins.len());
        for (count, (index, invocation)) in begins.into_iter().enumerate() {
            if count.is_multiple_of(CHECK_EVERY) && !go_on() {
                return None;
            }
            // Of the same time, ends come before beginnings.
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

    /// The workers before anything runs.
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

/// The capacity of an invocation, in bytes.
fn capacity(invocation: &TimedInvocation) -> u64 {
    let kb = match invocation.capacity_kb {
        0 => proto::DEFAULT_CAPACITY_KB,
        kb => kb,
    };
    kb.saturating_mul(KB)
}

/// The invalid fields of workers, each with what is wrong.
fn invalid_workers(workers: &[SimulatedWorker]) -> impl Iterator<Item = (String, String)> {
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

/// The invalid fields of invocations, each with what is wrong.
fn invalid_invocations(load: &[TimedInvocation]) -> impl Iterator<Item = (String, String)> {
    load.iter().enumerate().filter_map(|(index, invocation)| {
        let TimedInvocation { at_ns, duration_ns, .. } = invocation;
        let never_ends = duration_ns.is_some_and(|duration| at_ns.checked_add(duration).is_none());
        let why = || format!("is too long: it would end after {} ns", u64::MAX);
        never_ends.then(|| (format!("load[{index}].duration_ns"), why()))
    })
}

#[cfg(test)]
mod tests;
