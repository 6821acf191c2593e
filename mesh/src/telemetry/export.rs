//! Export of spans to the collector: the queue is bounded, spans are counted, and nothing waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_otlp::SpanExporter as Otlp;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor,
};
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::metrics::register;

/// How long spans wait to be sent in a batch.
const BATCH_DELAY: Duration = Duration::from_secs(1);
/// The maximum number of spans in one call.
const BATCH: usize = 512;

/// A queue of ended spans and the thread that exports them. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Export(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    batches: BatchSpanProcessor,
    max: usize,
    counts: Counts,
}

/// Metrics of ended spans by outcome.
#[derive(Debug, Clone)]
struct Counts {
    all: IntCounterVec,
    queued: IntGauge,
    exported: IntCounter,
    dropped: IntCounter,
    failed: IntCounter,
    waiting: Arc<AtomicUsize>,
}

impl Counts {
    fn new() -> Self {
        let options = Opts::new(
            "funless_telemetry_spans_total",
            "Ended spans: exported, dropped (the queue was full) or failed (the collector did not accept them).",
        );
        let all = IntCounterVec::new(options, &["outcome"]).expect("the metric is well-formed");
        let queued = IntGauge::new("funless_telemetry_spans_queued", "Ended spans waiting for export.");
        Self {
            exported: all.with_label_values(&["exported"]),
            dropped: all.with_label_values(&["dropped"]),
            failed: all.with_label_values(&["failed"]),
            all,
            queued: queued.expect("the metric is well-formed"),
            waiting: Arc::default(),
        }
    }

    /// Takes one of `max` places in the queue. Returns false if none is free.
    fn add_waiting(&self, max: usize) -> bool {
        let one_more = |waiting: usize| (waiting < max).then_some(waiting + 1);
        let admitted = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok();
        if admitted {
            self.queued.inc();
        }
        admitted
    }

    fn take_waiting(&self, count: usize) {
        self.queued.sub(i64::try_from(count).unwrap_or(i64::MAX));
        self.waiting.fetch_sub(count, Ordering::Relaxed);
    }
}

impl Export {
    /// Exports spans through `exporter`, with a queue of at most `max` spans; more are dropped.
    pub(super) fn new(exporter: Otlp, resource: &Resource, max: usize) -> Self {
        let counts = Counts::new();
        let exporter = Counting { exporter, counts: counts.clone(), failing: AtomicBool::new(false) };
        let config = BatchConfigBuilder::default()
            // Spans over our own limit never get here: they are counted as dropped before.
            .with_max_queue_size(max + BATCH)
            .with_max_export_batch_size(BATCH.min(max))
            .with_scheduled_delay(BATCH_DELAY)
            .build();
        let mut batches = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
        batches.set_resource(resource);
        Self(Arc::new(Inner { batches, max, counts }))
    }

    pub(super) fn register(&self, registry: &Registry) {
        register(registry, self.0.counts.all.clone());
        register(registry, self.0.counts.queued.clone());
    }
}

impl SpanProcessor for Export {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        if !self.0.counts.add_waiting(self.0.max) {
            self.0.counts.dropped.inc();
            return;
        }
        self.0.batches.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.batches.shutdown_with_timeout(timeout)
    }
}

/// An exporter that counts spans, and logs once when the collector fails and once when it recovers.
#[derive(Debug)]
struct Counting {
    exporter: Otlp,
    counts: Counts,
    failing: AtomicBool,
}

impl SpanExporter for Counting {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        self.counts.take_waiting(count);
        let outcome = self.exporter.export(batch).await;
        match &outcome {
            Ok(()) => {
                self.counts.exported.inc_by(count as u64);
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("the collector accepts traces again");
                }
            }
            Err(error) => {
                self.counts.failed.inc_by(count as u64);
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "the collector does not accept traces; they are lost until it does");
                }
            }
        }
        outcome
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
