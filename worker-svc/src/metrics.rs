//! The worker's metrics.

use std::time::{Duration, Instant};

use mesh::metrics::{duration_histogram, int_counter, int_gauge};
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry};

use crate::error::Error;
use crate::runtime::Outcome;

/// Where code was found.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Level {
    Memory,
    Disk,
    Registry,
}

/// What is done to code before it is ready.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Phase {
    Fetch,
    Compile,
    Load,
}

impl Phase {
    fn label(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Compile => "compile",
            Self::Load => "load",
        }
    }
}

/// The worker's metrics. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    invocations: IntCounterVec,
    duration: Histogram,
    /// Linear memory of the guests that run, in bytes.
    pub(crate) guest_memory: IntGauge,
    phases: HistogramVec,
    found: [IntCounter; 3],
}

impl Metrics {
    /// Registers those of the worker with this name.
    pub(crate) fn new(registry: &Registry, worker: &str) -> Self {
        let found = int_counter(
            registry,
            "funless_worker_code_found_total",
            "Look-ups of code, by the level of the cache that had it.",
            &["level"],
        );
        let no_labels: &[&str] = &[];
        Self {
            invocations: int_counter(
                registry,
                "funless_worker_invocations_total",
                "Invocations that have ended, by outcome.",
                &["outcome"],
            ),
            duration: duration_histogram(
                registry,
                "funless_worker_run_duration_seconds",
                "Time from a fresh instance's making to its end.",
                no_labels,
            )
            .with_label_values(no_labels),
            guest_memory: int_gauge(
                registry,
                "funless_worker_guest_memory_bytes",
                "Linear memory of the invocations that run.",
                &["worker"],
            )
            .with_label_values(&[worker]),
            phases: duration_histogram(
                registry,
                "funless_worker_code_phase_seconds",
                "Time that code takes to become ready, by phase.",
                &["phase"],
            ),
            found: ["memory", "disk", "registry"].map(|level| found.with_label_values(&[level])),
        }
    }

    pub(crate) fn found(&self, level: Level) {
        self.found[level as usize].inc();
    }

    pub(crate) fn phase(&self, phase: Phase, took: Duration) {
        self.phases.with_label_values(&[phase.label()]).observe(took.as_secs_f64());
    }

    /// Counts one invocation when what is returned is dropped.
    pub(crate) fn start(&self) -> Observation {
        Observation { metrics: self.clone(), outcome: "abandoned" }
    }

    /// Times one run: until what is returned is dropped.
    pub(crate) fn time_run(&self) -> Timer {
        Timer { histogram: self.duration.clone(), started: Instant::now() }
    }

    /// Counts an invocation that never started.
    pub(crate) fn refused(&self, error: &Error) {
        self.invocations.with_label_values(&[error.label()]).inc();
    }
}

/// One invocation, counted when it is dropped: as abandoned by its caller unless its end was told.
#[derive(Debug)]
pub(crate) struct Observation {
    metrics: Metrics,
    outcome: &'static str,
}

impl Observation {
    pub(crate) fn ended(&mut self, end: &Result<Outcome, Error>) {
        self.outcome = match end {
            Ok(Outcome::Result(_)) => "result",
            Ok(Outcome::FunctionError(_)) => "function_error",
            Err(error) => error.label(),
        };
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        self.metrics.invocations.with_label_values(&[self.outcome]).inc();
    }
}

/// Observes a duration when it is dropped.
#[derive(Debug)]
pub(crate) struct Timer {
    histogram: Histogram,
    started: Instant,
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.histogram.observe(self.started.elapsed().as_secs_f64());
    }
}
