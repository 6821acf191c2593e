//! Measures the scheduler's placement decisions alone: what dispatch does under its lock, repeated on one
//! thread.
//!
//! Each measurement covers a whole decision: an earlier invocation ends and its reservation is released, a
//! worker is chosen with the steps that explain the choice, the decision is recorded, and memory is reserved.
//! The number of running invocations stays constant, so that memory, tags and concurrency are those of a busy
//! cluster.

mod cases;

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use proto::scheduler::v1::{Report, WorkerIdentity, WorkerLoad};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};
use scheduler_svc::cluster::{Cluster, Reservation};
use scheduler_svc::decisions::{DecisionNumber, Decisions};
use scheduler_svc::{PendingInvocation, decide};
use serde_json::json;

/// The number of decisions that a scheduler keeps by default.
const REMEMBERED: usize = 10_000;
const WORKER_BYTES: u64 = 4 << 30;
/// The number of running invocations per worker. They use about a third of its memory.
const RUNNING_PER_WORKER: usize = 8;
/// Decisions before the measurement: as many as are kept, unless they take too long.
const WARM_UP: usize = REMEMBERED;
const SEED: u64 = 7;

#[derive(Debug, clap::Args)]
pub struct Options {
    /// The number of workers; may be repeated.
    #[arg(long, default_values_t = [10, 100, 1000, 10_000], value_parser = clap::value_parser!(u32).range(1..=100_000))]
    workers: Vec<u32>,
    /// Measure only policies whose name starts with this.
    #[arg(long, default_value = "")]
    policy: String,
    /// The duration of each measurement, in seconds.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Print one JSON object per line instead of a table.
    #[arg(long)]
    json: bool,
}

/// Measures each policy with each number of workers.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let chosen = cases::all().into_iter().filter(|case| case.name.starts_with(&options.policy));
    let chosen: Vec<_> = chosen.collect();
    ensure!(!chosen.is_empty(), "--policy {}: no policy starts with this", options.policy);
    if !options.json {
        println!(
            "{:14}{:>9}{:>15}{:>9}{:>9}  description",
            "policy", "workers", "decisions/s", "p50 us", "p99 us"
        );
    }
    for case in &chosen {
        for &workers in &options.workers {
            let figures = measure(case, workers, Duration::from_secs(options.seconds))?;
            let Figures { per_s, p50_us, p99_us } = figures;
            if options.json {
                println!(
                    "{}",
                    json!({
                        "name": "policy",
                        "policy": case.name,
                        "workers": workers,
                        "decisions_per_s": per_s.round(),
                        "p50_us": p50_us,
                        "p99_us": p99_us,
                    })
                );
            } else {
                println!("{:14}{workers:9}{per_s:15.0}{p50_us:9.1}{p99_us:9.1}  {}", case.name, case.what);
            }
        }
    }
    Ok(())
}

struct Figures {
    per_s: f64,
    p50_us: f64,
    p99_us: f64,
}

fn measure(case: &cases::Case, workers: u32, time: Duration) -> anyhow::Result<Figures> {
    let mut stage = Stage::new(case, workers);
    let start = Instant::now();
    for _ in 0..WARM_UP {
        if start.elapsed() > time {
            break;
        }
        stage.turn();
    }
    stage.refused = 0;
    let mut nanos: Vec<u64> = Vec::with_capacity(1 << 20);
    let start = Instant::now();
    let mut last = start;
    // The clock is read once per turn: the end of a turn is the start of the next.
    while last.duration_since(start) < time {
        stage.turn();
        let now = Instant::now();
        nanos.push(u64::try_from(now.duration_since(last).as_nanos())?);
        last = now;
    }
    let per_s = nanos.len() as f64 / last.duration_since(start).as_secs_f64();
    ensure!(
        stage.refused * 100 <= nanos.len(),
        "{} with {workers} workers: {} of {} decisions gave no worker",
        case.name,
        stage.refused,
        nanos.len()
    );
    nanos.sort_unstable();
    let micros = |share: f64| {
        let index = (nanos.len() as f64 * share) as usize;
        let nanos = nanos.get(index.min(nanos.len() - 1)).context("no decisions")?;
        anyhow::Ok((*nanos as f64 / 100.0).round() / 10.0)
    };
    Ok(Figures { per_s, p50_us: micros(0.5)?, p99_us: micros(0.99)? })
}

/// A cluster, its running invocations, and the invocations to place.
struct Stage {
    cluster: Cluster<()>,
    decisions: Decisions,
    /// The random numbers of the strategy `random`.
    rng: Xoshiro256PlusPlus,
    /// Chooses which invocation ends and which begins.
    load: Xoshiro256PlusPlus,
    invocations: Vec<PendingInvocation>,
    running: Vec<(Reservation, DecisionNumber)>,
    refused: usize,
}

impl Stage {
    fn new(case: &cases::Case, workers: u32) -> Self {
        let mut load = Xoshiro256PlusPlus::seed_from_u64(SEED);
        let invocations = cases::invocations(case, workers);
        let mut cluster = Cluster::new("01900000-0000-7000-8000-0123456789ab".to_owned());
        for worker in 0..workers {
            let name = cases::worker_name(worker);
            let hash = |invocation: &PendingInvocation| {
                invocation.function.code.as_ref().map(|code| code.hash.clone())
            };
            // Each code is prepared on about half of the workers.
            let code_ready: Vec<Bytes> =
                invocations.iter().filter_map(hash).filter(|_| load.random_bool(0.5)).collect();
            let memory = WorkerLoad {
                memory_total: WORKER_BYTES,
                memory_available: WORKER_BYTES
                    - if case.idle { 0 } else { load.random_range(0..WORKER_BYTES / 8) },
                ..WorkerLoad::default()
            };
            let identity = WorkerIdentity { id: format!("id of {name}"), name, ..WorkerIdentity::default() };
            let report = Report { load: Some(memory), code_ready, ..Report::default() };
            cluster.join(identity, report, (), Instant::now());
        }
        let decisions = Decisions::new(cluster.scheduler_id(), REMEMBERED, Instant::now());
        let rng = Xoshiro256PlusPlus::seed_from_u64(SEED);
        let mut stage = Self { cluster, decisions, rng, load, invocations, running: Vec::new(), refused: 0 };
        if !case.idle {
            stage.fill(&case.takes(workers));
        }
        stage
    }

    /// Spreads running invocations evenly; no policy would reach this state in a reasonable time.
    fn fill(&mut self, takers: &[u32]) {
        let empty = Cluster::<()>::new(String::new());
        for &worker in takers.iter().cycle().take(takers.len() * RUNNING_PER_WORKER) {
            let invocation = self.invocations[self.load.random_range(0..self.invocations.len())].clone();
            let number = self.decisions.push(decide(&invocation, &empty, &[], &mut self.rng));
            let required = invocation.requirements();
            let (reservation, ()) = self.cluster.reserve(worker, required.tag, required.capacity);
            self.running.push((reservation, number));
        }
    }

    /// Ends one invocation and places another.
    fn turn(&mut self) {
        if !self.running.is_empty() {
            let ends = self.load.random_range(0..self.running.len());
            let (reservation, number) = self.running.swap_remove(ends);
            self.cluster.release(&reservation);
            self.decisions.ended(number, Instant::now());
        }
        let invocation = &self.invocations[self.load.random_range(0..self.invocations.len())];
        let decision = decide(invocation, &self.cluster, &[], &mut self.rng);
        let outcome = decision.choice.outcome;
        let number = self.decisions.push(decision);
        // Dispatch returns it to the caller.
        std::hint::black_box(self.decisions.id(number));
        match outcome {
            Ok(index) => {
                let required = invocation.requirements();
                let (reservation, ()) = self.cluster.reserve(index, required.tag, required.capacity);
                self.running.push((reservation, number));
            }
            Err(_) => self.refused += 1,
        }
    }
}
