//! The sink's metrics.

use mesh::metrics::{duration_histogram, int_counter, int_gauge};
use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};
use proto::sink::v1::{SinkCounts, SinkLedger};

use crate::kinds::KINDS;

/// Recorded by the outbox' users.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    /// Results that were taken, each once for each of its sinks.
    pub(crate) accepted: IntCounter,
    /// By kind.
    pub(crate) delivered: IntCounterVec,
    /// By kind.
    pub(crate) dead: IntCounterVec,
    /// Dead letters that were put into the outbox again.
    pub(crate) redriven: IntCounter,
    /// Dead letters that were thrown away.
    pub(crate) purged: IntCounter,
    /// Attempts that failed: by kind, and `refused` for those that count against the result, `away` for
    /// those that do not.
    pub(crate) failed_attempts: IntCounterVec,
    /// Time of a request to a store, by kind.
    pub(crate) request_duration: HistogramVec,
    pub(crate) pending: IntGauge,
    pub(crate) pending_bytes: IntGauge,
    dead_letters: IntGaugeVec,
    unaccounted: IntGauge,
    /// 1 while a destination is left alone, by destination.
    pub(crate) breaker_open: IntGaugeVec,
}

impl Metrics {
    /// Registers them.
    pub(crate) fn new(registry: &Registry) -> Self {
        let counter = |name, help, labels| int_counter(registry, name, help, labels);
        let plain = |name, help| counter(name, help, &[]).with_label_values::<&str>(&[]);
        let gauge = |name, help| int_gauge(registry, name, help, &[]).with_label_values::<&str>(&[]);
        let this = Self {
            accepted: plain("funless_sink_accepted_total", "Results taken, once for each sink."),
            delivered: counter("funless_sink_delivered_total", "Results delivered.", &["kind"]),
            dead: counter("funless_sink_dead_total", "Results that became dead letters.", &["kind"]),
            redriven: plain("funless_sink_redriven_total", "Dead letters that are delivered again."),
            purged: plain("funless_sink_purged_total", "Dead letters that were thrown away."),
            failed_attempts: counter(
                "funless_sink_failed_attempts_total",
                "Attempts to deliver that failed: the result was refused, or its store was away.",
                &["kind", "cause"],
            ),
            request_duration: duration_histogram(
                registry,
                "funless_sink_request_duration_seconds",
                "Time of a request that delivers results.",
                &["kind"],
            ),
            pending: gauge("funless_sink_pending", "Results in the outbox, of all replicas."),
            pending_bytes: gauge("funless_sink_pending_bytes", "Bytes of the results in the outbox."),
            dead_letters: int_gauge(
                registry,
                "funless_sink_dead_letters",
                "Results that are dead letters now, of all replicas.",
                &["kind"],
            ),
            unaccounted: gauge(
                "funless_sink_unaccounted_results",
                "Results of which the ledgers do not say what became of them, of all replicas; always 0.",
            ),
            breaker_open: int_gauge(
                registry,
                "funless_sink_breaker_open",
                "Whether a destination is left alone since it is away.",
                &["destination"],
            ),
        };
        // What has not happened yet is there, so that the first time is seen as an increase.
        for kind in KINDS {
            for counter in [&this.delivered, &this.dead] {
                counter.with_label_values(&[kind]);
            }
            for cause in ["refused", "away"] {
                this.failed_attempts.with_label_values(&[kind, cause]);
            }
            this.request_duration.with_label_values(&[kind]);
            this.dead_letters.with_label_values(&[kind]);
        }
        this
    }

    /// The ledgers of all bindings, as they are now.
    pub(crate) fn audited(&self, ledgers: &[SinkLedger]) {
        let dead_of = |kind: &str| -> u64 {
            let counts = ledgers.iter().filter(|ledger| ledger.binding_type == kind);
            counts.filter_map(|ledger| ledger.counts).map(|counts| counts.dead).sum()
        };
        for kind in KINDS {
            let dead = i64::try_from(dead_of(kind)).unwrap_or(i64::MAX);
            self.dead_letters.with_label_values(&[kind]).set(dead);
        }
        let drift = |counts: SinkCounts| {
            counts.accepted.abs_diff(counts.delivered + counts.pending + counts.dead + counts.purged)
        };
        let drift: u64 = ledgers.iter().filter_map(|ledger| ledger.counts).map(drift).sum();
        self.unaccounted.set(i64::try_from(drift).unwrap_or(i64::MAX));
    }
}
