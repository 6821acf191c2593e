//! The connector's metrics.

use mesh::metrics::{duration_histogram, int_counter, int_gauge, reason_label};
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};
use proto::connector::v1::{EventCounts, EventLedger};

use crate::kinds::KINDS;

/// Recorded by intake and kinds.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    events: IntCounterVec,
    retries: IntCounterVec,
    in_flight: IntGaugeVec,
    duration: HistogramVec,
    room: IntGaugeVec,
    bindings: IntGaugeVec,
    dead_letters: IntGaugeVec,
    unaccounted: IntGauge,
    /// Dead letters whose function has then succeeded.
    pub(crate) redriven: IntCounter,
    /// Dead letters that were thrown away.
    pub(crate) purged: IntCounter,
    connected: IntGaugeVec,
    reconnects: IntCounterVec,
}

impl Metrics {
    /// Registers them.
    pub(crate) fn new(registry: &Registry) -> Self {
        let counter = |name, help, labels| int_counter(registry, name, help, labels);
        let plain = |name, help| counter(name, help, &[]).with_label_values::<&str>(&[]);
        let by_kind = |name, help| int_gauge(registry, name, help, &["kind"]);
        let this = Self {
            events: counter(
                "funless_connector_events_total",
                "Events by what became of them: received, acknowledged, invalid, dead_lettered or lost.",
                &["kind", "outcome"],
            ),
            retries: counter(
                "funless_connector_retries_total",
                "Invocations that are tried again, by the fault of the platform.",
                &["kind", "reason"],
            ),
            in_flight: by_kind("funless_connector_in_flight", "Events that are worked on."),
            room: by_kind(
                "funless_connector_in_flight_limit",
                "Events that may be worked on at once by the bindings that run here.",
            ),
            bindings: by_kind(
                "funless_connector_bindings",
                "Events' bindings that run here; each of them should be connected.",
            ),
            dead_letters: by_kind(
                "funless_connector_dead_letters",
                "Events that are dead letters now, of all replicas.",
            ),
            unaccounted: int_gauge(
                registry,
                "funless_connector_unaccounted_events",
                "Events of which the ledgers do not say what became of them, of all replicas; always 0.",
                &[],
            )
            .with_label_values::<&str>(&[]),
            redriven: plain("funless_connector_redriven_total", "Dead letters that were handled after all."),
            purged: plain("funless_connector_purged_total", "Dead letters that were thrown away."),
            duration: duration_histogram(
                registry,
                "funless_connector_event_duration_seconds",
                "Time from an event's arrival until its source need not send it again.",
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

    /// What has not happened yet is there, so that the first time is seen as an increase.
    fn show_zeros(&self) {
        for kind in KINDS {
            drop(self.of(kind));
            self.dead_letters.with_label_values(&[kind]);
        }
    }

    /// The ledgers of all bindings, as they are now.
    pub(crate) fn audited(&self, ledgers: &[EventLedger]) {
        let letters_of = |kind: &str| -> u64 {
            let counts = ledgers.iter().filter(|ledger| ledger.binding_type == kind);
            counts.filter_map(|ledger| ledger.counts).map(|counts| counts.dead_letters).sum()
        };
        for kind in KINDS {
            let letters = i64::try_from(letters_of(kind)).unwrap_or(i64::MAX);
            self.dead_letters.with_label_values(&[kind]).set(letters);
        }
        let drift = |counts: EventCounts| {
            let events = counts.acknowledged + counts.in_flight + counts.lost;
            let letters = counts.dead_letters + counts.redriven + counts.purged;
            counts.received.abs_diff(events) + counts.dead_lettered.abs_diff(letters)
        };
        let drift: u64 = ledgers.iter().filter_map(|ledger| ledger.counts).map(drift).sum();
        self.unaccounted.set(i64::try_from(drift).unwrap_or(i64::MAX));
    }

    /// Those of one kind.
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
            room: self.room.with_label_values(&[kind]),
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
    room: IntGauge,
    bindings: IntGauge,
    pub(crate) duration: Histogram,
    pub(crate) connected: IntGauge,
    pub(crate) connections_lost: IntCounter,
}

impl KindMetrics {
    /// Counts an invocation that is tried again.
    pub(crate) fn retried(&self, reason: mesh::Reason) {
        self.retries.with_label_values(&[self.kind.as_str(), &reason_label(reason)]).inc();
    }

    /// As long as what is returned lives, one binding more runs, of which so many events may be worked on at
    /// once.
    pub(crate) fn show_binding(&self, max_in_flight: u16) -> ShownBinding {
        let shown = ShownBinding {
            bindings: self.bindings.clone(),
            room: self.room.clone(),
            events: max_in_flight.into(),
        };
        shown.bindings.inc();
        shown.room.add(shown.events);
        shown
    }
}

/// A binding that runs.
pub(crate) struct ShownBinding {
    bindings: IntGauge,
    room: IntGauge,
    events: i64,
}

impl Drop for ShownBinding {
    fn drop(&mut self) {
        self.bindings.dec();
        self.room.sub(self.events);
    }
}
