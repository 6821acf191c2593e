//! The sink's metrics.

use mesh::metrics::{LedgerMetrics, LedgerTotals, duration_histogram, int_counter, int_gauge};
use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};
use proto::sink::v1::SinkLedger;

use crate::kinds::KINDS;

/// The sink's metrics.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    /// Results that were accepted, once for each of their sinks.
    pub(crate) accepted: IntCounter,
    /// By kind.
    pub(crate) delivered: IntCounterVec,
    /// By kind.
    pub(crate) dead: IntCounterVec,
    /// Dead letters that were redriven.
    pub(crate) redriven: IntCounter,
    /// Dead letters that were purged.
    pub(crate) purged: IntCounter,
    /// Failed attempts, by kind and cause: `refused` counts against the result, `away` does not.
    pub(crate) failed_attempts: IntCounterVec,
    /// The duration of a request to a store, by kind.
    pub(crate) request_duration: HistogramVec,
    pub(crate) pending: IntGauge,
    pub(crate) pending_bytes: IntGauge,
    /// Of the results.
    pub(crate) ledgers: LedgerMetrics,
    /// 1 while no requests are sent to a destination, by destination.
    pub(crate) breaker_open: IntGaugeVec,
}

impl Metrics {
    /// Registers the metrics.
    pub(crate) fn new(registry: &Registry) -> Self {
        let counter = |name, help, labels| int_counter(registry, name, help, labels);
        let plain = |name, help| counter(name, help, &[]).with_label_values::<&str>(&[]);
        let gauge = |name, help| int_gauge(registry, name, help, &[]).with_label_values::<&str>(&[]);
        let this = Self {
            accepted: plain("funless_sink_accepted_total", "Results accepted, once for each sink."),
            delivered: counter("funless_sink_delivered_total", "Results delivered.", &["kind"]),
            dead: counter("funless_sink_dead_total", "Results that became dead letters.", &["kind"]),
            redriven: plain("funless_sink_redriven_total", "Dead letters that were redriven."),
            purged: plain("funless_sink_purged_total", "Dead letters that were purged."),
            failed_attempts: counter(
                "funless_sink_failed_attempts_total",
                "Failed attempts to deliver: the result was refused, or its store was away.",
                &["kind", "cause"],
            ),
            request_duration: duration_histogram(
                registry,
                "funless_sink_request_duration_seconds",
                "The duration of a request that delivers results.",
                &["kind"],
            ),
            pending: gauge("funless_sink_pending", "Results in the outbox, of all replicas."),
            pending_bytes: gauge("funless_sink_pending_bytes", "Bytes of the results in the outbox."),
            ledgers: LedgerMetrics {
                kinds: &KINDS,
                dead_letters: int_gauge(
                    registry,
                    "funless_sink_dead_letters",
                    "Dead letters of results now, of all replicas.",
                    &["kind"],
                ),
                unaccounted: gauge(
                    "funless_sink_unaccounted_results",
                    "Results that the ledgers do not account for, of all replicas; always 0.",
                ),
            },
            breaker_open: int_gauge(
                registry,
                "funless_sink_breaker_open",
                "Whether a destination gets no requests because it is away.",
                &["destination"],
            ),
        };
        // All series start at 0, so that the first event is an increase.
        for kind in KINDS {
            for counter in [&this.delivered, &this.dead] {
                counter.with_label_values(&[kind]);
            }
            for cause in ["refused", "away"] {
                this.failed_attempts.with_label_values(&[kind, cause]);
            }
            this.request_duration.with_label_values(&[kind]);
        }
        this.ledgers.set(&[]);
        this
    }
}

/// What the metrics show of a ledger.
pub(crate) fn totals(ledger: &SinkLedger) -> LedgerTotals<'_> {
    let counts = ledger.counts.unwrap_or_default();
    let ended = counts.delivered + counts.pending + counts.dead + counts.purged;
    LedgerTotals {
        kind: &ledger.binding_type,
        dead_letters: counts.dead,
        unaccounted: counts.accepted.abs_diff(ended),
    }
}
