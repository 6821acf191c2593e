//! Logs and traces of a process, and the trace context between processes.
//!
//! Spans are `tracing` spans with the target [`SPANS`]; nothing but the OpenTelemetry layer looks at
//! them, so that without it they cost nothing. A trace begins where something enters the mesh: an HTTP
//! request, a call of a gRPC client, an event, a delivery. What a service does for itself has none.
//!
//! - `context`: the trace context as it comes and goes, also when nothing is exported
//! - `export`: the bounded way to the collector
//! - `keep`: failed requests of traces that are not sampled
//! - `lines`: log lines, each with the ids of its trace
//! - `rpc`: the spans of calls, on both sides
//! - `sampling`: which traces are exported
//! - `stored`: spans that are kept beside what is done later, to be continued or linked to
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

/// A span of what happens within a trace that is kept. There is none outside of one: what a service does for
/// itself begins no traces, and of a trace that is not kept only the context goes on. Takes what `tracing::info_span!` takes after the target.
#[macro_export]
macro_rules! inner_span {
    ($($fields:tt)*) => {
        match $crate::telemetry::is_sampled() {
            true => ::tracing::info_span!(target: $crate::telemetry::SPANS, $($fields)*),
            false => ::tracing::Span::none(),
        }
    };
}

/// How long a collector may take for one batch.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the last spans may take when the process stops.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Keeps logging and tracing alive; flushes traces when it is shut down.
#[derive(Debug)]
#[must_use = "traces are exported only while it lives"]
pub struct Telemetry {
    traces: Option<(SdkTracerProvider, Export)>,
    log: LogControl,
}

/// Sets up logs and traces for this process, once. `service` names it in traces. Logs go to the
/// standard error.
pub fn init(service: &str, config: &TelemetryConfig) -> anyhow::Result<Telemetry> {
    let levels = EnvFilter::try_new(&config.log).with_context(|| {
        format!("telemetry.log: {:?} is neither a level nor a list of levels by module", config.log)
    })?;
    let (levels, handle) = reload::Layer::new(levels);
    // Colours are for terminals: a file or a collector would keep the escape sequences.
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let lines = if config.format.is_human() {
        lines.compact().map_event_format(WithTrace::for_people).boxed()
    } else {
        lines.json().flatten_event(true).map_event_format(WithTrace::for_machines).boxed()
    };
    // Spans are for traces alone. What the exporter says about itself, `export` says better.
    let of_ours =
        filter_fn(|metadata| !metadata.is_span() && !metadata.target().starts_with("opentelemetry"));
    let lines = lines.with_filter(levels.and(of_ours));

    hand_on_contexts();
    let traces = config.otlp_endpoint.as_ref().map(|to| traces(service, to, config)).transpose()?;
    // Each has a filter of its own: what no layer wants costs nothing, and a layer without a filter, or none
    // in its place, would want everything.
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

/// Makes the spans of this process those of `tracer`.
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

/// From now on the contexts of traces are read from the headers of requests, and written into them. Part
/// of [`init`].
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
    // For spans that are known only when they have ended.
    opentelemetry::global::set_tracer_provider(provider.clone());
    Ok((provider, export))
}

impl Telemetry {
    /// Shows in `registry` what becomes of the spans.
    pub fn register(&self, registry: &Registry) {
        if let Some((_, export)) = &self.traces {
            export.register(registry);
        }
    }

    /// What is logged can be changed with this.
    pub fn log(&self) -> &LogControl {
        &self.log
    }

    /// Sends what has not been sent. Blocks for a few seconds at most.
    pub fn shutdown(self) {
        if let Some((provider, _)) = self.traces
            && let Err(error) = provider.shutdown_with_timeout(FLUSH_TIMEOUT)
        {
            tracing::warn!(%error, "traces were not flushed");
        }
    }
}
