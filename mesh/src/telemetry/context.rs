//! The trace context: W3C `traceparent`, `tracestate` and `baggage`.
//!
//! It is handed on whether traces are exported here or not: a mesh that exports nothing is not a gap in the
//! traces of its callers.

use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::Context;
use opentelemetry::baggage::BaggageExt as _;
use opentelemetry::context::FutureExt as _;
use opentelemetry::propagation::{Extractor, Injector};
use opentelemetry::trace::{TraceContextExt as _, TraceId};
use tracing::Span;
use tracing::instrument::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Says to the caller which span was made of its request.
static TRACE_RESPONSE: LazyLock<HeaderName> = LazyLock::new(|| HeaderName::from_static("traceresponse"));

/// The context that the headers of a request carry; an empty one when they carry none.
pub fn parent_of(headers: &HeaderMap) -> Context {
    if !headers.contains_key("traceparent") && !headers.contains_key("baggage") {
        return Context::new();
    }
    opentelemetry::global::get_text_map_propagator(|propagator| {
        propagator.extract_with_context(&Context::new(), &HeaderReader(headers))
    })
}

/// Whether what runs now belongs to a trace that is kept.
pub fn is_sampled() -> bool {
    Context::map_current(|context| context.span().span_context().is_sampled())
}

/// The id of the trace that what runs now belongs to.
pub fn current_trace_id() -> Option<String> {
    Context::map_current(|context| {
        let span = context.span();
        let span = span.span_context();
        span.is_valid().then(|| span.trace_id().to_string())
    })
}

/// The same, if that trace is one that is kept.
pub fn sampled_trace_id() -> Option<TraceId> {
    Context::map_current(|context| {
        let span = context.span();
        let span = span.span_context();
        (span.is_valid() && span.is_sampled()).then(|| span.trace_id())
    })
}

/// Writes the current context into the headers of a request that leaves.
pub fn inject_current(headers: &mut HeaderMap) {
    let context = Context::current();
    if !context.span().span_context().is_valid() && context.baggage().is_empty() {
        return;
    }
    opentelemetry::global::get_text_map_propagator(|propagator| {
        propagator.inject_context(&context, &mut HeaderWriter(headers));
    });
}

/// The current span for the headers of an answer, if it is one of ours.
pub fn trace_response(span: &Span) -> Option<(HeaderName, HeaderValue)> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let span = context.span();
    let span = span.span_context();
    let value = format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags());
    Some((TRACE_RESPONSE.clone(), HeaderValue::try_from(value).ok().filter(|_| span.is_valid())?))
}

/// Work in a trace.
pub trait Traced: Future + Sized {
    /// Runs within `span`, which continues the trace of `parent`; within `parent` itself when spans are
    /// not exported here.
    fn traced(self, span: Span, parent: Context) -> impl Future<Output = Self::Output>;

    /// Takes the current trace along to another task.
    fn in_current_trace(self) -> impl Future<Output = Self::Output>;
}

impl<F: Future> Traced for F {
    async fn traced(self, span: Span, parent: Context) -> F::Output {
        if span.is_disabled() {
            return self.with_context(parent).await;
        }
        // Fails when the layer is not there, and then the span is disabled.
        let _ = span.set_parent(parent);
        self.instrument(span).await
    }

    fn in_current_trace(self) -> impl Future<Output = F::Output> {
        self.in_current_span().with_current_context()
    }
}

struct HeaderReader<'a>(&'a HeaderMap);

impl Extractor for HeaderReader<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct HeaderWriter<'a>(&'a mut HeaderMap);

impl Injector for HeaderWriter<'_> {
    fn set(&mut self, key: &str, value: String) {
        let name = HeaderName::from_bytes(key.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&value)) {
            self.0.insert(name, value);
        }
    }
}
