//! Failed requests of traces that are not sampled.
//!
//! Whether a trace is sampled is decided where it begins, before anything is known of its end. What can
//! be kept honestly of a failed request that was not sampled is what its entrance saw: one span, with the
//! ids that went into the logs and to the caller. The hops behind are not in it.

use std::time::SystemTime;

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks, SpanProcessor as _};
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;

use super::export::Export;

/// A layer that only keeps the way to the collector at hand.
pub(super) struct ExportHandle(Export);

impl ExportHandle {
    pub(super) fn new(export: Export) -> Self {
        Self(export)
    }
}

impl<S: Subscriber> Layer<S> for ExportHandle {}

/// What the entrance saw of a failed request.
#[derive(Debug)]
pub struct Kept {
    /// What the request's span is called.
    pub name: String,
    /// Of which kind it is.
    pub kind: SpanKind,
    /// When it began.
    pub start: SystemTime,
    /// What went wrong, in words that hold no secrets.
    pub error: String,
    /// Attributes by the semantic conventions.
    pub attributes: Vec<KeyValue>,
}

/// Exports one span for a failed request whose `span` was not sampled; one that was is exported anyway.
/// A trace whose beginning is elsewhere is left to who sampled it.
pub fn keep_error(span: &Span, has_parent: bool, kept: impl FnOnce() -> Kept) {
    if span.is_disabled() || has_parent {
        return;
    }
    let context = span.context();
    let unsampled = context.span().span_context().clone();
    if !unsampled.is_valid() || unsampled.is_sampled() {
        return;
    }
    let export = tracing::dispatcher::get_default(|dispatch| {
        dispatch.downcast_ref::<ExportHandle>().map(|ExportHandle(export)| export.clone())
    });
    if let Some(export) = export {
        export.on_end(span_data(&unsampled, kept()));
    }
}

fn span_data(unsampled: &SpanContext, kept: Kept) -> SpanData {
    let mut attributes = kept.attributes;
    attributes.push(KeyValue::new("funless.kept_because", "error"));
    SpanData {
        span_context: SpanContext::new(
            unsampled.trace_id(),
            unsampled.span_id(),
            TraceFlags::SAMPLED,
            false,
            unsampled.trace_state().clone(),
        ),
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: kept.kind,
        name: kept.name.into(),
        start_time: kept.start,
        end_time: SystemTime::now(),
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::error(kept.error),
        instrumentation_scope: InstrumentationScope::builder("funless").build(),
    }
}
