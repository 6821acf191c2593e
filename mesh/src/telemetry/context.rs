//! The trace context: W3C `traceparent`, `tracestate` and `baggage`.
//!
//! It is propagated even if this process does not export traces, so that its callers' traces have no gap.

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

/// Tells the caller the span of its request.
static TRACE_RESPONSE: LazyLock<HeaderName> = LazyLock::new(|| HeaderName::from_static("traceresponse"));

/// The context in the headers of a request; empty if there is none.
pub fn parent_of(headers: &HeaderMap) -> Context {
    if !headers.contains_key("traceparent") && !headers.contains_key("baggage") {
        return Context::new();
    }
    opentelemetry::global::get_text_map_propagator(|propagator| {
        propagator.extract_with_context(&Context::new(), &HeaderReader(headers))
    })
}

/// Whether the current trace is sampled.
pub fn is_sampled() -> bool {
    Context::map_current(|context| context.span().span_context().is_sampled())
}

/// The id of the current trace.
pub fn current_trace_id() -> Option<String> {
    Context::map_current(|context| {
        let span = context.span();
        let span = span.span_context();
        span.is_valid().then(|| span.trace_id().to_string())
    })
}

/// The id of the current trace, if it is sampled.
pub fn sampled_trace_id() -> Option<TraceId> {
    Context::map_current(|context| {
        let span = context.span();
        let span = span.span_context();
        (span.is_valid() && span.is_sampled()).then(|| span.trace_id())
    })
}

/// Writes the current context into the headers of an outgoing request.
pub fn inject_current(headers: &mut HeaderMap) {
    let context = Context::current();
    if !context.span().span_context().is_valid() && context.baggage().is_empty() {
        return;
    }
    opentelemetry::global::get_text_map_propagator(|propagator| {
        propagator.inject_context(&context, &mut HeaderWriter(headers));
    });
}

/// The header that names `span` in a response; `None` if the span is disabled.
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

/// Runs futures within a trace.
pub trait Traced: Future + Sized {
    /// Runs within `span` as a child of `parent`, or within `parent` itself if spans are not exported here.
    fn traced(self, span: Span, parent: Context) -> impl Future<Output = Self::Output>;

    /// Runs within the current trace, even in another task.
    fn in_current_trace(self) -> impl Future<Output = Self::Output>;
}

impl<F: Future> Traced for F {
    async fn traced(self, span: Span, parent: Context) -> F::Output {
        if span.is_disabled() {
            return self.with_context(parent).await;
        }
        // It fails only without the layer, and then the span is disabled.
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
