//! The worker's metrics.

use std::time::Duration;

use mesh::metrics::{duration_histogram, int_counter, int_gauge, register};
use mesh::receipt::Receipt;
use prometheus::{
    Counter, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry,
};

use crate::error::Error;
use crate::outcome::{self, Outcome};

/// The level of the code cache that had some code.
#[derive(Debug, Clone, Copy)]
pub(crate) enum CacheLevel {
    Memory,
    Disk,
    Registry,
}

/// Why some code was evicted, and from which level of the code cache.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Eviction {
    /// From memory: it was not called for long.
    Idle,
    /// From memory, for other code.
    MemoryFull,
    /// From disk, for other code.
    DiskFull,
}

/// The reasons why compilations fail.
pub(crate) const COMPILE_FAILURES: [&str; 7] =
    ["invalid", "memory", "cpu_time", "crashed", "timeout", "killed", "platform"];

/// A step that makes code ready to run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum CodePhase {
    Fetch,
    Compile,
    Load,
}

impl CodePhase {
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
    runs: RunMetrics,
    /// CPU time of guests, in seconds.
    pub(crate) guest_cpu: Counter,
    /// Memory of the running guests, in bytes.
    pub(crate) guest_memory: IntGauge,
    /// Log lines that are kept, in bytes.
    pub(crate) log_bytes: IntGauge,
    phases: HistogramVec,
    found: [IntCounter; 3],
    evicted: [IntCounter; 3],
    failed_compilations: IntCounterVec,
}

/// The usage of runs.
#[derive(Debug, Clone)]
struct RunMetrics {
    duration: Histogram,
    instantiation: Histogram,
    queue: Histogram,
    peak_memory: Histogram,
    http_requests: IntCounter,
}

impl Metrics {
    /// Registers the metrics of the worker with this name.
    pub(crate) fn new(registry: &Registry, worker: &str) -> Self {
        let of_worker = |name: &str, help: &str| {
            int_gauge(registry, name, help, &["worker"]).with_label_values(&[worker])
        };
        let found = int_counter(
            registry,
            "funless_worker_code_found_total",
            "Lookups of code, by the cache level that had it.",
            &["level"],
        );
        Self {
            invocations: int_counter(
                registry,
                "funless_worker_invocations_total",
                "Invocations that have ended, by outcome.",
                &["outcome"],
            ),
            runs: RunMetrics::new(registry),
            guest_cpu: register(
                registry,
                Counter::new("funless_worker_guest_cpu_seconds_total", "CPU time of functions.")
                    .expect("the metric is well-formed"),
            ),
            guest_memory: of_worker(
                "funless_worker_guest_memory_bytes",
                "Memory of running invocations, with what the worker holds for them.",
            ),
            log_bytes: of_worker("funless_worker_log_bytes", "Bytes of functions' log lines that are kept."),
            phases: duration_histogram(
                registry,
                "funless_worker_code_phase_seconds",
                "Time that code takes to become ready, by phase.",
                &["phase"],
            ),
            found: ["memory", "disk", "registry"].map(|level| found.with_label_values(&[level])),
            evicted: evicted(registry),
            failed_compilations: failed_compilations(registry),
        }
    }

    pub(crate) fn found_code(&self, level: CacheLevel) {
        self.found[level as usize].inc();
    }

    pub(crate) fn evicted_code(&self, eviction: Eviction) {
        self.evicted[eviction as usize].inc();
    }

    pub(crate) fn ended_phase(&self, phase: CodePhase, took: Duration) {
        self.phases.with_label_values(&[phase.label()]).observe(took.as_secs_f64());
    }

    /// Counts a compilation that has failed; `reason` is one of a closed set.
    pub(crate) fn failed_to_compile(&self, reason: &'static str) {
        self.failed_compilations.with_label_values(&[reason]).inc();
    }

    /// Counts one invocation when the recorder is dropped.
    pub(crate) fn start(&self) -> InvocationRecorder {
        InvocationRecorder { metrics: self.clone(), outcome: "abandoned" }
    }

    /// Counts an invocation that was not admitted.
    pub(crate) fn refused(&self, error: &Error) {
        self.invocations.with_label_values(&[error.label()]).inc();
    }
}

impl RunMetrics {
    fn new(registry: &Registry) -> Self {
        let durations = |name: &str, help: &str| {
            duration_histogram(registry, name, help, NO_LABELS).with_label_values(NO_LABELS)
        };
        Self {
            duration: durations(
                "funless_worker_run_duration_seconds",
                "Time that functions run, without instantiation and without the wait for time slices.",
            ),
            instantiation: durations(
                "funless_worker_instantiate_duration_seconds",
                "Time that the instantiation of a function takes.",
            ),
            queue: durations(
                "funless_worker_queue_duration_seconds",
                "Time that invocations wait for code that is being prepared, for the compiler, and for time \
                 slices.",
            ),
            peak_memory: register(registry, peak_memory()),
            http_requests: int_counter(
                registry,
                "funless_worker_guest_http_requests_total",
                "HTTP requests that functions have made.",
                NO_LABELS,
            )
            .with_label_values(NO_LABELS),
        }
    }

    /// Records the usage of one invocation.
    fn record(&self, receipt: &Receipt) {
        self.queue.observe(seconds(receipt.queue_us));
        // A run has arguments, at least `{}`: this invocation did not get that far.
        if receipt.in_bytes == 0 {
            return;
        }
        self.instantiation.observe(seconds(receipt.instantiate_us));
        self.duration.observe(seconds(receipt.run_us));
        self.peak_memory.observe(receipt.peak_memory_bytes as f64);
        self.http_requests.inc_by(u64::from(receipt.http_requests));
    }
}

/// One invocation, counted when this is dropped: as abandoned by its caller unless `ended` was called.
#[derive(Debug)]
pub(crate) struct InvocationRecorder {
    metrics: Metrics,
    outcome: &'static str,
}

impl InvocationRecorder {
    pub(crate) fn ended(&mut self, end: &Result<Outcome, Error>, receipt: &Receipt) {
        self.outcome = outcome::label(end);
        self.metrics.runs.record(receipt);
    }
}

impl Drop for InvocationRecorder {
    fn drop(&mut self) {
        self.metrics.invocations.with_label_values(&[self.outcome]).inc();
    }
}

/// In the order of `Eviction`.
fn evicted(registry: &Registry) -> [IntCounter; 3] {
    let counter = int_counter(
        registry,
        "funless_worker_code_evicted_total",
        "Code that was evicted from a level of the cache, by the reason.",
        &["level", "reason"],
    );
    [["memory", "idle"], ["memory", "full"], ["disk", "full"]]
        .map(|labels| counter.with_label_values(&labels))
}

/// With all reasons, so that the first failure is an increase.
fn failed_compilations(registry: &Registry) -> IntCounterVec {
    let counter = int_counter(
        registry,
        "funless_worker_failed_compilations_total",
        "Compilations that have failed, by the reason.",
        &["reason"],
    );
    for reason in COMPILE_FAILURES {
        let _ = counter.with_label_values(&[reason]);
    }
    counter
}

const NO_LABELS: &[&str] = &[];

/// From one page of WebAssembly to a whole 32-bit memory.
fn peak_memory() -> Histogram {
    let buckets = prometheus::exponential_buckets(65_536.0, 4.0, 9).expect("the buckets ascend");
    let options = HistogramOpts::new(
        "funless_worker_guest_peak_memory_bytes",
        "The most linear memory of an invocation.",
    );
    Histogram::with_opts(options.buckets(buckets)).expect("the metric is well-formed")
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}
