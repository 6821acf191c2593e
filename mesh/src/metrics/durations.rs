//! Histograms of durations, with the trace of the latest observation of each bucket as an exemplar.
//!
//! The `prometheus` crate does not support exemplars. They pass through its registry, which adds its labels
//! to them, as gauges of a separate family: the value is the observation, the timestamp is its time, and two
//! additional labels name the bucket and the trace. `openmetrics` writes them as exemplars of the histogram;
//! the family itself is never shown.

use std::collections::HashMap;
use std::sync::Arc;

use opentelemetry::trace::TraceId;
use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Metric, MetricFamily};
use prometheus::{Histogram, HistogramOpts, HistogramVec, Registry};

use super::readings::{gauge, gauges, pair};
use super::{BUCKETS, register};
use crate::clock::now_ms;

/// The suffix of the name of the family with a histogram's exemplars.
pub(super) const EXEMPLARS: &str = "_exemplars";
/// The label of an exemplar that names its bucket: the bucket's index.
pub(super) const BUCKET: &str = "funless_bucket";
/// The label of an exemplar that names its trace.
pub(super) const TRACE_ID: &str = "trace_id";

/// A histogram of durations in seconds, with exemplars. Clones share them.
#[derive(Debug, Clone)]
pub struct Durations {
    histograms: HistogramVec,
    exemplars: Arc<Exemplars>,
}

#[derive(Debug)]
struct Exemplars {
    desc: Desc,
    labels: Vec<String>,
    /// The latest exemplar of each bucket, by the values of the labels.
    latest: Mutex<HashMap<Vec<String>, [Option<Exemplar>; BUCKETS.len() + 1]>>,
}

#[derive(Debug, Clone, Copy)]
struct Exemplar {
    trace_id: TraceId,
    seconds: f64,
    at_ms: i64,
}

impl Durations {
    /// Registers a histogram.
    pub fn new(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Self {
        let options = HistogramOpts::new(name, help).buckets(BUCKETS.to_vec());
        let labels: Vec<_> = labels.iter().map(|label| (*label).to_owned()).collect();
        let all = labels.iter().map(String::as_str).chain([BUCKET, TRACE_ID]).map(str::to_owned).collect();
        let desc = Desc::new(format!("{name}{EXEMPLARS}"), help.to_owned(), all, HashMap::new());
        let histograms = HistogramVec::new(options, &labels.iter().map(String::as_str).collect::<Vec<_>>());
        let exemplars =
            Exemplars { desc: desc.expect("the metric is well-formed"), labels, latest: Mutex::default() };
        let histograms = histograms.expect("the metric is well-formed");
        register(registry, Self { histograms, exemplars: Arc::new(exemplars) })
    }

    /// Records a duration, with its trace if that is exported.
    pub fn observe(&self, labels: &[&str], seconds: f64, trace: Option<TraceId>) {
        self.series(labels).observe(seconds);
        if let Some(trace_id) = trace {
            self.keep_exemplar(labels, seconds, trace_id);
        }
    }

    /// The series with these labels.
    pub(super) fn series(&self, labels: &[impl AsRef<str> + std::fmt::Debug]) -> Histogram {
        self.histograms.with_label_values(labels)
    }

    /// Keeps a recorded duration as the exemplar of its bucket.
    pub(super) fn keep_exemplar(&self, labels: &[impl AsRef<str>], seconds: f64, trace_id: TraceId) {
        // Any recent trace will do: if another thread holds the lock, skip this one.
        let Some(mut latest) = self.exemplars.latest.try_lock() else { return };
        let bucket = BUCKETS.partition_point(|bound| *bound < seconds);
        let labels = labels.iter().map(|label| label.as_ref().to_owned()).collect();
        latest.entry(labels).or_default()[bucket] = Some(Exemplar { trace_id, seconds, at_ms: now_ms() });
    }

    /// Removes the series with these labels.
    pub fn remove(&self, labels: &[&str]) {
        // It fails only if there is no such series.
        let _ = self.histograms.remove_label_values(labels);
        self.exemplars.latest.lock().retain(|these, _| these != labels);
    }
}

impl Exemplars {
    fn collect(&self) -> MetricFamily {
        let latest = self.latest.lock();
        let all = latest.iter().flat_map(|(labels, buckets)| {
            let there = buckets.iter().enumerate();
            there.filter_map(move |(bucket, exemplar)| Some((labels, bucket, exemplar.as_ref()?)))
        });
        gauges(
            &self.desc,
            all.map(|(labels, bucket, exemplar)| self.metric(labels, bucket, exemplar)).collect(),
        )
    }

    fn metric(&self, labels: &[String], bucket: usize, exemplar: &Exemplar) -> Metric {
        let own = self.labels.iter().zip(labels).map(|(name, value)| pair(name, value));
        let more = [pair(BUCKET, bucket.to_string()), pair(TRACE_ID, exemplar.trace_id.to_string())];
        let mut metric = gauge(own.chain(more).collect(), exemplar.seconds);
        metric.set_timestamp_ms(exemplar.at_ms);
        metric
    }
}

impl Collector for Durations {
    fn desc(&self) -> Vec<&Desc> {
        self.histograms.desc().into_iter().chain([&self.exemplars.desc]).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.histograms.collect().into_iter().chain([self.exemplars.collect()]).collect()
    }
}
