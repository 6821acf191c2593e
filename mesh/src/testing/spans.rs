//! The spans of this process. A tracer collects those of all threads, so tests that check spans are a program
//! of their own and run one after the other.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, Span, SpanData, SpanProcessor};
use parking_lot::Mutex;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::eventually;
use crate::telemetry;

/// Spans that have ended.
#[derive(Debug, Clone, Default)]
pub struct EndedSpans(Arc<Mutex<Vec<SpanData>>>);

impl EndedSpans {
    /// Starts to collect the spans of this process, with this sampling ratio.
    pub fn collect(sample_ratio: f64) -> Self {
        let ended = Self::default();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(ended.clone())
            .with_sampler(telemetry::sampler(sample_ratio))
            .build();
        tracing_subscriber::registry().with(telemetry::span_layer(provider.tracer("tests"))).init();
        ended
    }

    /// The ended spans with this name, in the order in which they ended.
    pub fn named(&self, name: &str) -> Vec<SpanData> {
        self.0.lock().iter().filter(|span| span.name == name).cloned().collect()
    }

    /// Waits for at least `count` spans with this name, and returns them.
    pub async fn expect(&self, name: &str, count: usize) -> Vec<SpanData> {
        let what = format!("{count} spans {name} have ended");
        eventually(&what, async || self.named(name).len() >= count).await;
        self.named(name)
    }
}

impl SpanProcessor for EndedSpans {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.lock().push(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// An attribute of a span, as text.
pub fn attribute(span: &SpanData, name: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == name);
    found.unwrap_or_else(|| panic!("no {name} in {span:?}")).value.to_string()
}

/// The `traceparent` of each span that `span` is linked to.
pub fn links(span: &SpanData) -> Vec<String> {
    let linked = span.links.links.iter().map(|link| traceparent(&link.span_context));
    linked.collect()
}

/// The `traceparent` of a span.
pub fn traceparent(span: &opentelemetry::trace::SpanContext) -> String {
    format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags())
}
