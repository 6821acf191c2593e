//! A process that exports no traces: spans are disabled, and contexts are propagated.

use http::HeaderMap;
use mesh::config::TelemetryConfig;
use mesh::telemetry::{self, SPANS, Traced as _};
use tracing::{Level, Span};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn spans_are_disabled_and_contexts_are_propagated() {
    let _telemetry = telemetry::init("test", &TelemetryConfig::default()).expect("the defaults are valid");
    let span: Span = tracing::info_span!(target: SPANS, "a span");
    assert!(span.is_disabled());
    assert!(!tracing::enabled!(target: "h2", Level::DEBUG));
    let received: HeaderMap = [
        (http::HeaderName::from_static("traceparent"), http::HeaderValue::from_static(PARENT)),
        (http::HeaderName::from_static("baggage"), http::HeaderValue::from_static("tenant=ann")),
    ]
    .into_iter()
    .collect();
    let sends = async {
        let mut headers = HeaderMap::new();
        telemetry::inject_current(&mut headers);
        headers
    };
    let sent = sends.traced(span, telemetry::parent_of(&received)).await;
    assert_eq!((&sent["traceparent"], &sent["baggage"]), (&received["traceparent"], &received["baggage"]));
}
