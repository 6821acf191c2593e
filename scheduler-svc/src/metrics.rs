//! The scheduler's metrics.

use mesh::metrics::{int_counter, int_gauge};
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Registry};

use crate::policy::Refusal;

/// Recorded by dispatch and membership.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Decisions by outcome: `chosen`, or why none was.
    pub decisions: IntCounterVec,
    /// Attempts on a worker that were given up, by reason.
    pub retries: IntCounterVec,
    /// Workers that are in, by `draining`.
    pub workers: IntGaugeVec,
    /// 1 while something is wrong with the source of the measurements.
    pub metrics_problem: IntGauge,
}

impl Metrics {
    /// Registers them.
    pub fn new(registry: &Registry) -> Self {
        let no_labels: &[&str] = &[];
        Self {
            decisions: int_counter(
                registry,
                "funless_scheduler_decisions_total",
                "Choices of a worker for an invocation.",
                &["outcome"],
            ),
            retries: int_counter(
                registry,
                "funless_scheduler_retries_total",
                "Attempts on a worker that failed, so that another worker was tried.",
                &["reason"],
            ),
            workers: int_gauge(registry, "funless_scheduler_workers", "Workers that are in.", &["state"]),
            metrics_problem: int_gauge(
                registry,
                "funless_scheduler_metrics_problem",
                "1 while reports stand in for measurements that the metrics source should have.",
                no_labels,
            )
            .with_label_values(no_labels),
        }
    }

    /// Counts a choice: of a worker, or why of none.
    pub fn decided(&self, refusal: Option<Refusal>) {
        self.decisions.with_label_values(&[refusal.map_or("chosen", Refusal::as_str)]).inc();
    }
}
