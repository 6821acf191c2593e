//! The spans of results: when they are put into the outbox, and attempts to deliver them.
//!
//! A result is delivered later than the call that produced it, perhaps more than once, and together with
//! others. So each attempt is a trace of its own, linked to the spans that put its results into the outbox.

use std::collections::HashMap;
use std::sync::Arc;

use mesh::inner_span;
use mesh::telemetry;
use parking_lot::Mutex;
use tracing::Span;
use tracing::field::Empty;

use crate::outbox::{LetterKey, Pending};

/// A store, as spans describe it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Store {
    pub(crate) kind: String,
    pub(crate) binding_id: String,
    /// Scheme, host and port.
    pub(crate) destination: String,
}

/// The stores that this replica delivers to, by binding. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stores(Arc<Mutex<HashMap<String, Arc<Store>>>>);

impl Stores {
    /// Adds a store that this replica delivers to.
    pub(crate) fn add(&self, kind: &str, binding_id: &str, destination: String) -> Arc<Store> {
        let store = Arc::new(Store { kind: kind.to_owned(), binding_id: binding_id.to_owned(), destination });
        self.0.lock().insert(binding_id.to_owned(), Arc::clone(&store));
        store
    }

    /// Removes the store of a binding that this replica no longer runs.
    pub(crate) fn remove(&self, binding_id: &str) {
        self.0.lock().remove(binding_id);
    }

    /// The span of putting a result into the outbox for a binding. If another replica runs the binding, only
    /// its id is known here.
    pub(crate) fn enqueue_span(&self, binding_id: &str, invocation_id: &str, bytes: usize) -> Span {
        if !telemetry::is_sampled() {
            return Span::none();
        }
        let store = self.0.lock().get(binding_id).cloned();
        let kind = store.as_ref().map(|store| store.kind.as_str());
        inner_span!(
            "enqueue",
            otel.name = format_args!("enqueue {}", kind.unwrap_or("result")),
            otel.kind = "producer",
            otel.status_code = Empty,
            faas.invocation_id = invocation_id,
            messaging.message.body.size = bytes,
            funless.binding_id = binding_id,
            funless.sink.kind = kind,
            funless.sink.destination = store.as_ref().map(|store| store.destination.as_str()),
            error.type = Empty,
        )
    }
}

/// The span of redriving dead letters, linked to the spans that failed.
pub(crate) fn redrive_span(letters: &[LetterKey]) -> Span {
    let only = match letters {
        [] => return Span::none(),
        [only] => Some(only.id.as_str()),
        _ => None,
    };
    let span = inner_span!(
        "redrive",
        otel.kind = "producer",
        otel.status_code = Empty,
        messaging.batch.message_count = letters.len(),
        funless.dead_letter.id = only,
        error.type = Empty,
    );
    telemetry::link(&span, letters.iter().filter_map(|letter| letter.trace));
    span
}

/// The span of an attempt to deliver `rows`, linked to the spans that put them into the outbox. There is no
/// span if none of those is sampled.
pub(crate) fn attempt_span(store: &Store, rows: &[&Pending]) -> Span {
    let traces = rows.iter().filter_map(|row| row.trace);
    if !traces.clone().any(|trace| trace.is_sampled()) {
        return Span::none();
    }
    let only = if let [only] = rows { Some(*only) } else { None };
    let span = tracing::info_span!(
        target: telemetry::SPANS,
        "deliver",
        otel.name = format_args!("deliver {}", store.kind),
        otel.kind = "consumer",
        otel.status_code = Empty,
        messaging.batch.message_count = rows.len(),
        faas.invocation_id = only.map(|row| row.invocation_id.as_str()),
        funless.binding_id = store.binding_id,
        funless.sink.kind = store.kind,
        funless.sink.destination = store.destination,
        funless.sink.attempt = only.map(|row| row.attempts.saturating_add(1)),
        funless.sink.delivered = Empty,
        funless.sink.refused = Empty,
        funless.sink.dead = Empty,
        funless.dead_letter.id = Empty,
        error.type = Empty,
    );
    telemetry::link(&span, traces);
    span
}

/// The span of publishing a message to a broker's subject.
pub(crate) fn publish_span(system: &str, subject: &str, broker: &str, bytes: usize) -> Span {
    inner_span!(
        "publish",
        otel.name = format_args!("publish {subject}"),
        otel.kind = "producer",
        otel.status_code = Empty,
        messaging.system = system,
        messaging.operation.name = "publish",
        messaging.operation.type = "send",
        messaging.destination.name = subject,
        messaging.message.body.size = bytes,
        server.address = broker,
        error.type = Empty,
    )
}
