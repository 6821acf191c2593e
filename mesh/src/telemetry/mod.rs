//! Logs and traces of a process, and the trace context between processes.
//!
//! Spans are `tracing` spans with the target [`SPANS`]. Only the OpenTelemetry layer enables them, so that
//! without it they cost nothing. A trace begins at an entry point of the mesh: an HTTP request, a call of a
//! gRPC client, an event, a delivery. A service's own background work is not traced.
//!
//! - `context`: propagation of the trace context, even if nothing is exported
//! - `export`: bounded export to the collector
//! - `keep`: failed requests of traces that are not sampled
//! - `lines`: log lines, each with the ids of its trace
//! - `rpc`: the spans of calls, on both sides
//! - `sampling`: which traces are exported
//! - `stored`: spans that are stored with deferred work, to be continued or linked to
//! - `web`: the spans of requests to web servers

mod config;
mod context;
mod export;
mod keep;
mod lines;
mod rpc;
mod sampling;
mod stored;
mod web;

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::KeyValue;
use opentelemetry::propagation::TextMapCompositePropagator;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use prometheus::Registry;
use tracing::Subscriber;
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, reload};

pub use self::config::{LogFormat, TelemetryConfig};
pub use self::context::{
    Traced, current_trace_id, inject_current, is_sampled, parent_of, sampled_trace_id, trace_response,
};
pub use self::keep::{Kept, keep_error};
pub use self::lines::LogControl;
pub(crate) use self::rpc::{RpcSpan, client_span, server_span};
pub(crate) use self::sampling::sampler;
pub use self::stored::{NoTraceParent, TraceParent, link};
pub use self::web::{WebSpan, failed};

use self::export::Export;
use self::keep::ExportHandle;
use self::lines::WithTrace;

/// The target of spans that are exported.
pub const SPANS: &str = "funless::spans";

/// A span within the current trace, if that is sampled; otherwise a disabled span: background work begins no
/// traces, and an unsampled trace only propagates its context. Takes the arguments of `tracing::info_span!`
/// after the target.
#[macro_export]
macro_rules! inner_span {
    ($($fields:tt)*) => {
        match $crate::telemetry::is_sampled() {
            true => ::tracing::info_span!(target: $crate::telemetry::SPANS, $($fields)*),
            false => ::tracing::Span::none(),
        }
    };
}

/// The timeout of the export of one batch.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// The timeout of the last export when the process stops.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// The logs and traces of this process; [`Telemetry::shutdown`] flushes traces.
#[derive(Debug)]
#[must_use = "traces are exported only while it lives"]
pub struct Telemetry {
    traces: Option<(SdkTracerProvider, Export)>,
    log: LogControl,
}

/// Sets up logs and traces for this process; may be called once. `service` is its name in traces. Logs go to
/// standard error.
pub fn init(service: &str, config: &TelemetryConfig) -> anyhow::Result<Telemetry> {
    let levels = EnvFilter::try_new(&config.log).with_context(|| {
        format!("telemetry.log: {:?} is neither a level nor a list of levels by module", config.log)
    })?;
    let (levels, handle) = reload::Layer::new(levels);
    // Colors are only for terminals: files and log collectors would keep the escape sequences.
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let lines = if config.format.is_human() {
        lines.compact().map_event_format(WithTrace::for_people).boxed()
    } else {
        lines.json().flatten_event(true).map_event_format(WithTrace::for_machines).boxed()
    };
    // Log lines do not contain spans. `export` logs failures of the exporter, so its own logs are dropped.
    let is_own_event =
        filter_fn(|metadata| !metadata.is_span() && !metadata.target().starts_with("opentelemetry"));
    let lines = lines.with_filter(levels.and(is_own_event));

    hand_on_contexts();
    let traces = config.otlp_endpoint.as_ref().map(|to| traces(service, to, config)).transpose()?;
    // Each layer has a filter of its own, so that events and spans that no layer wants cost nothing. A layer
    // without a filter, or `None` in place of a layer, would enable everything.
    let mut layers = vec![lines.boxed()];
    if let Some((provider, export)) = &traces {
        layers.push(span_layer(provider.tracer("funless")).boxed());
        if config.keep_errors {
            layers.push(ExportHandle::new(export.clone()).with_filter(LevelFilter::OFF).boxed());
        }
    }
    tracing_subscriber::registry().with(layers).try_init()?;
    Ok(Telemetry { traces, log: LogControl::new(handle) })
}

/// The layer that sends the spans of this process to `tracer`.
pub(crate) fn span_layer<S>(tracer: SdkTracer) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_tracked_inactivity(false)
        .with_level(false)
        .with_target(false)
        .with_filter(filter_fn(|metadata| metadata.is_span() && metadata.target() == SPANS))
}

/// Enables propagation of trace contexts in the headers of requests. [`init`] calls it.
pub fn hand_on_contexts() {
    opentelemetry::global::set_text_map_propagator(TextMapCompositePropagator::new(vec![
        Box::new(TraceContextPropagator::new()),
        Box::new(BaggagePropagator::new()),
    ]));
}

fn traces(service: &str, to: &str, config: &TelemetryConfig) -> anyhow::Result<(SdkTracerProvider, Export)> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(to)
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .with_context(|| format!("telemetry.otlp_endpoint: {to}"))?;
    let resource = Resource::builder()
        .with_service_name(format!("funless-{service}"))
        .with_attributes([
            KeyValue::new("service.namespace", "funless"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", uuid::Uuid::now_v7().to_string()),
        ])
        .build();
    let export = Export::new(exporter, &resource, config.queued_spans);
    let provider = SdkTracerProvider::builder()
        .with_span_processor(export.clone())
        .with_sampler(sampler(config.sample_ratio))
        .with_resource(resource)
        .build();
    // For spans that are created only after they have ended.
    opentelemetry::global::set_tracer_provider(provider.clone());
    Ok((provider, export))
}

impl Telemetry {
    /// Registers the metrics of exported spans.
    pub fn register(&self, registry: &Registry) {
        if let Some((_, export)) = &self.traces {
            export.register(registry);
        }
    }

    /// Controls the log levels.
    pub fn log(&self) -> &LogControl {
        &self.log
    }

    /// Exports the remaining spans. Blocks for at most a few seconds.
    pub fn shutdown(self) {
        if let Some((provider, _)) = self.traces
            && let Err(error) = provider.shutdown_with_timeout(FLUSH_TIMEOUT)
        {
            tracing::warn!(%error, "traces were not flushed");
        }
    }
}
