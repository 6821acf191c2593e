//! A process that exports traces: only spans and events that a layer wants are enabled.

use mesh::config::TelemetryConfig;
use mesh::telemetry::{self, SPANS};
use tracing::Level;

#[tokio::test]
async fn only_own_spans_and_logged_events_are_enabled() {
    let config = TelemetryConfig {
        // Nothing listens there, which does not matter.
        otlp_endpoint: Some("http://127.0.0.1:9".into()),
        ..TelemetryConfig::default()
    };
    let _telemetry = telemetry::init("test", &config).expect("valid");
    assert!(!tracing::info_span!(target: SPANS, "ours").is_disabled());
    assert!(tracing::info_span!("of a library").is_disabled());
    assert!(tracing::enabled!(Level::INFO));
    assert!(!tracing::enabled!(target: "h2", Level::DEBUG));
}
