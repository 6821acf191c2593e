//! Spans of events, by OpenTelemetry's conventions for messaging and functions.

use std::time::{Duration, SystemTime};

use mesh::inner_span;
use mesh::telemetry::{self, Kept, TraceParent};
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use proto::deadletter::v1::DeadLetter;
use tracing::Span;
use tracing::field::Empty;

use crate::binding::BoundFunction;
use crate::event::Event;

/// The maximum length of a source's or topic's name, in bytes.
const MAX_NAME_BYTES: usize = 256;

/// A source as traces describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A broker.
    Broker {
        /// Its protocol.
        system: &'static str,
        /// The topic filter, subject or stream of the binding.
        subscription: String,
    },
    /// A schedule.
    Timer {
        /// The cron expression of the binding.
        schedule: String,
    },
}

impl Origin {
    /// The name of its events' spans.
    fn span_name(&self) -> String {
        match self {
            Self::Broker { subscription, .. } => format!("process {}", cut(subscription)),
            Self::Timer { schedule } => format!("fire {}", cut(schedule)),
        }
    }

    fn trigger(&self) -> &'static str {
        match self {
            Self::Broker { .. } => "pubsub",
            Self::Timer { .. } => "timer",
        }
    }
}

/// The span of an event, from its receipt until its end. A firing has no `event`.
pub(crate) fn event_span(bound: &BoundFunction, origin: &Origin, event: Option<&Event>) -> Span {
    let (system, subscription, schedule) = match origin {
        Origin::Broker { system, subscription } => (Some(*system), Some(cut(subscription)), None),
        Origin::Timer { schedule } => (None, None, Some(cut(schedule))),
    };
    let operation = system.map(|_| "process");
    tracing::info_span!(
        target: telemetry::SPANS,
        "event",
        otel.name = origin.span_name(),
        otel.kind = "consumer",
        otel.status_code = Empty,
        messaging.system = system,
        messaging.operation.name = operation,
        messaging.operation.type = operation,
        messaging.destination.name = event.and_then(Event::destination).map(cut),
        messaging.destination.template = subscription,
        messaging.message.body.size = event.map(|event| event.payload.len()),
        faas.trigger = origin.trigger(),
        faas.name = format_args!("{}/{}", bound.module, bound.function),
        faas.cron = schedule,
        faas.time = Empty,
        faas.invocation_id = Empty,
        funless.binding_id = &*bound.binding_id,
        funless.event_id = Empty,
        funless.dead_letter.id = Empty,
        error.type = Empty,
    )
}

/// Exports the `span` of an event that has become a dead letter, even if its trace is not sampled.
pub(crate) fn keep_dead_lettered(span: &Span, has_parent: bool, origin: &Origin, letter: &DeadLetter) {
    telemetry::keep_error(span, has_parent, || Kept {
        name: origin.span_name(),
        kind: SpanKind::Consumer,
        start: SystemTime::UNIX_EPOCH
            + Duration::from_millis(u64::try_from(letter.received_at_ms).unwrap_or_default()),
        error: "the event became a dead letter".to_owned(),
        attributes: vec![
            KeyValue::new("faas.trigger", origin.trigger()),
            KeyValue::new("faas.name", format!("{}/{}", letter.module, letter.function)),
            KeyValue::new("faas.invocation_id", letter.invocation_id.clone()),
            KeyValue::new("funless.binding_id", letter.binding_id.clone()),
            KeyValue::new("funless.dead_letter.id", letter.id.clone()),
            KeyValue::new("error.type", "dead_letter"),
        ],
    });
}

/// The span of a redrive, linked to the one that failed.
pub(crate) fn redrive_span(letter: &DeadLetter, failed: Option<TraceParent>) -> Span {
    let span = inner_span!(
        "redrive",
        otel.status_code = Empty,
        faas.name = format_args!("{}/{}", letter.module, letter.function),
        faas.invocation_id = letter.invocation_id,
        funless.binding_id = letter.binding_id,
        funless.dead_letter.id = letter.id,
        error.type = Empty,
    );
    telemetry::link(&span, failed);
    span
}

fn cut(name: &str) -> &str {
    &name[..name.floor_char_boundary(MAX_NAME_BYTES)]
}
