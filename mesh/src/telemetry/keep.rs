//! Failed requests of traces that are not sampled.
//!
//! The sampling decision is made when a trace begins, before its outcome is known. For a failed request that
//! was not sampled, one span is exported: that of the entry point, with the ids that are in the logs and in
//! the response. It has no child spans.

use std::time::SystemTime;

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks, SpanProcessor as _};
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;

use super::export::Export;

/// A layer that only holds the exporter, so that [`keep_error`] can find it.
pub(super) struct ExportHandle(Export);

impl ExportHandle {
    pub(super) fn new(export: Export) -> Self {
        Self(export)
    }
}

impl<S: Subscriber> Layer<S> for ExportHandle {}

/// The span of a failed request, as the entry point saw it.
#[derive(Debug)]
pub struct Kept {
    /// The span's name.
    pub name: String,
    /// The span's kind.
    pub kind: SpanKind,
    /// The start time.
    pub start: SystemTime,
    /// The error message. Must not contain secrets.
    pub error: String,
    /// Attributes, following the semantic conventions.
    pub attributes: Vec<KeyValue>,
}

/// Exports one span for a failed request whose `span` was not sampled; a sampled span is exported anyway. A
/// request with a parent is skipped: its trace began elsewhere, and so did the sampling decision.
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
