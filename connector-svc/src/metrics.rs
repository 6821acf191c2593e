//! The connector's metrics.

use mesh::metrics::{LedgerMetrics, LedgerTotals, duration_histogram, int_counter, int_gauge, reason_label};
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};
use proto::connector::v1::EventLedger;

/// The metrics of all kinds.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    kinds: &'static [&'static str],
    events: IntCounterVec,
    retries: IntCounterVec,
    in_flight: IntGaugeVec,
    duration: HistogramVec,
    in_flight_limit: IntGaugeVec,
    bindings: IntGaugeVec,
    /// Of the events.
    pub(crate) ledgers: LedgerMetrics,
    /// Dead letters that were redriven.
    pub(crate) redriven: IntCounter,
    /// Dead letters that were purged.
    pub(crate) purged: IntCounter,
    connected: IntGaugeVec,
    reconnects: IntCounterVec,
}

impl Metrics {
    /// Registers them, for these kinds of event sources.
    pub(crate) fn new(registry: &Registry, kinds: &'static [&'static str]) -> Self {
        let counter = |name, help, labels| int_counter(registry, name, help, labels);
        let plain = |name, help| counter(name, help, &[]).with_label_values::<&str>(&[]);
        let by_kind = |name, help| int_gauge(registry, name, help, &["kind"]);
        let this = Self {
            kinds,
            events: counter(
                "funless_connector_events_total",
                "Events by outcome: received, acknowledged, invalid, dead_lettered or lost.",
                &["kind", "outcome"],
            ),
            retries: counter(
                "funless_connector_retries_total",
                "Retries of invocations, by the fault of the platform.",
                &["kind", "reason"],
            ),
            in_flight: by_kind("funless_connector_in_flight", "Events in flight."),
            in_flight_limit: by_kind(
                "funless_connector_in_flight_limit",
                "The maximum number of events in flight of the bindings that run here.",
            ),
            bindings: by_kind(
                "funless_connector_bindings",
                "Event sources that run here; each should be connected.",
            ),
            ledgers: LedgerMetrics {
                kinds,
                dead_letters: by_kind(
                    "funless_connector_dead_letters",
                    "Dead letters of events now, of all replicas.",
                ),
                unaccounted: int_gauge(
                    registry,
                    "funless_connector_unaccounted_events",
                    "Events that the ledgers do not account for, of all replicas; always 0.",
                    &[],
                )
                .with_label_values::<&str>(&[]),
            },
            redriven: plain("funless_connector_redriven_total", "Dead letters that were redriven."),
            purged: plain("funless_connector_purged_total", "Dead letters that were purged."),
            duration: duration_histogram(
                registry,
                "funless_connector_event_duration_seconds",
                "Time from the receipt of an event until it has ended.",
                &["kind"],
            ),
            connected: by_kind("funless_connector_connected", "Event sources that are connected."),
            reconnects: counter(
                "funless_connector_connections_lost_total",
                "Connections to event sources that were lost.",
                &["kind"],
            ),
        };
        this.show_zeros();
        this
    }

    /// Initialises all series with 0, so that the first event is an increase.
    fn show_zeros(&self) {
        for kind in self.kinds {
            drop(self.of(kind));
        }
        self.ledgers.set(&[]);
    }

    /// The metrics of one kind.
    pub(crate) fn of(&self, kind: &str) -> KindMetrics {
        let events = |outcome: &str| self.events.with_label_values(&[kind, outcome]);
        KindMetrics {
            received: events("received"),
            acknowledged: events("acknowledged"),
            invalid: events("invalid"),
            dead_lettered: events("dead_lettered"),
            lost: events("lost"),
            retries: self.retries.clone(),
            in_flight: self.in_flight.with_label_values(&[kind]),
            in_flight_limit: self.in_flight_limit.with_label_values(&[kind]),
            bindings: self.bindings.with_label_values(&[kind]),
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
    pub(crate) invalid: IntCounter,
    pub(crate) dead_lettered: IntCounter,
    pub(crate) lost: IntCounter,
    retries: IntCounterVec,
    pub(crate) in_flight: IntGauge,
    in_flight_limit: IntGauge,
    bindings: IntGauge,
    pub(crate) duration: Histogram,
    pub(crate) connected: IntGauge,
    pub(crate) connections_lost: IntCounter,
}

impl KindMetrics {
    /// Counts a retry.
    pub(crate) fn retried(&self, reason: mesh::Reason) {
        self.retries.with_label_values(&[self.kind.as_str(), &reason_label(reason)]).inc();
    }

    /// Counts a binding that runs, until the returned value is dropped.
    pub(crate) fn count_binding(&self, max_in_flight: u16) -> RunningBinding {
        let running = RunningBinding {
            bindings: self.bindings.clone(),
            in_flight_limit: self.in_flight_limit.clone(),
            max_in_flight: max_in_flight.into(),
        };
        running.bindings.inc();
        running.in_flight_limit.add(running.max_in_flight);
        running
    }
}

/// A binding that runs.
pub(crate) struct RunningBinding {
    bindings: IntGauge,
    in_flight_limit: IntGauge,
    max_in_flight: i64,
}

impl Drop for RunningBinding {
    fn drop(&mut self) {
        self.bindings.dec();
        self.in_flight_limit.sub(self.max_in_flight);
    }
}

/// What the metrics show of a ledger.
pub(crate) fn totals(ledger: &EventLedger) -> LedgerTotals<'_> {
    let counts = ledger.counts.unwrap_or_default();
    let events = counts.acknowledged + counts.in_flight + counts.lost;
    let letters = counts.dead_letters + counts.redriven + counts.purged;
    LedgerTotals {
        kind: &ledger.binding_type,
        dead_letters: counts.dead_letters,
        unaccounted: counts.received.abs_diff(events) + counts.dead_lettered.abs_diff(letters),
    }
}
