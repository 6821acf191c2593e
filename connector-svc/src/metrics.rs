//! The connector's metrics.

use mesh::metrics::{duration_histogram, int_counter, int_gauge};
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

/// Recorded by intake and kinds.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    events: IntCounterVec,
    retries: IntCounterVec,
    in_flight: IntGaugeVec,
    duration: HistogramVec,
    connected: IntGaugeVec,
    reconnects: IntCounterVec,
}

impl Metrics {
    /// Registers them.
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            events: int_counter(
                registry,
                "funless_connector_events_total",
                "Events by what became of them: received, acknowledged, refused, buried or forgotten.",
                &["kind", "outcome"],
            ),
            retries: int_counter(
                registry,
                "funless_connector_retries_total",
                "Invocations that are tried again, by the fault of the platform.",
                &["kind", "reason"],
            ),
            in_flight: int_gauge(
                registry,
                "funless_connector_in_flight",
                "Events that are worked on.",
                &["kind"],
            ),
            duration: duration_histogram(
                registry,
                "funless_connector_event_duration_seconds",
                "Time from an event's arrival until its source need not send it again.",
                &["kind"],
            ),
            connected: int_gauge(
                registry,
                "funless_connector_connected",
                "Event sources that are connected.",
                &["kind"],
            ),
            reconnects: int_counter(
                registry,
                "funless_connector_connections_lost_total",
                "Connections to event sources that were lost.",
                &["kind"],
            ),
        }
    }

    /// Those of one kind.
    pub(crate) fn of(&self, kind: &str) -> KindMetrics {
        let events = |outcome: &str| self.events.with_label_values(&[kind, outcome]);
        KindMetrics {
            received: events("received"),
            acknowledged: events("acknowledged"),
            refused: events("refused"),
            buried: events("buried"),
            forgotten: events("forgotten"),
            retries: self.retries.clone(),
            in_flight: self.in_flight.with_label_values(&[kind]),
            duration: self.duration.with_label_values(&[kind]),
            connected: self.connected.with_label_values(&[kind]),
            connections_lost: self.reconnects.with_label_values(&[kind]),
            kind: kind.to_owned(),
        }
    }
}

/// The metrics of one kind of event source.
#[derive(Debug, Clone)]
pub(crate) struct KindMetrics {
    kind: String,
    pub(crate) received: IntCounter,
    pub(crate) acknowledged: IntCounter,
    pub(crate) refused: IntCounter,
    pub(crate) buried: IntCounter,
    pub(crate) forgotten: IntCounter,
    retries: IntCounterVec,
    pub(crate) in_flight: IntGauge,
    pub(crate) duration: Histogram,
    pub(crate) connected: IntGauge,
    pub(crate) connections_lost: IntCounter,
}

impl KindMetrics {
    /// Counts an invocation that is tried again.
    pub(crate) fn retried(&self, reason: mesh::Reason) {
        let reason = reason.as_str_name();
        let reason = reason.strip_prefix("REASON_").unwrap_or(reason);
        self.retries.with_label_values(&[self.kind.as_str(), reason]).inc();
    }
}
