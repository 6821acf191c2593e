//! The common parts of all services' metrics.
//!
//! - `rpc`: the metrics of every gRPC server
//! - `durations`: histograms with exemplars
//! - `readings`: gauges that are computed when they are scraped
//! - `capped`: user-chosen labels with a limited number of values
//! - `ledgers`: gauges that are computed from ledgers
//! - `page`: the response of `/metrics`; `openmetrics`: its OpenMetrics format, with exemplars

mod capped;
mod durations;
mod ledgers;
mod openmetrics;
mod page;
mod readings;
mod rpc;

use std::collections::HashMap;

pub use opentelemetry::trace::TraceId;
use prometheus::{HistogramOpts, HistogramVec, IntGaugeVec, Opts, Registry};

pub use self::capped::{Capped, OTHER};
pub use self::durations::Durations;
pub use self::ledgers::{LedgerMetrics, LedgerTotals};
pub(crate) use self::page::page;
pub use self::readings::{read_gauge, read_gauges, show_permits, show_process, show_usage};
pub use self::rpc::RpcMetrics;
pub(crate) use self::rpc::RpcObservation;

use crate::error::Reason;

/// Buckets from 100 µs to 60 s.
const BUCKETS: &[f64] = &[
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0, 60.0,
];

/// A registry whose metrics all have the label `service`: services have metrics with the same names, and
/// those of one process share a page.
pub fn registry_of(service: &str) -> Registry {
    let labels = HashMap::from([("service".to_owned(), service.to_owned())]);
    Registry::new_custom(None, Some(labels)).expect("no prefix is given")
}

/// Registers a metric. If the same metric is already registered, logs a warning, and the new one is not
/// shown.
pub fn register<M>(registry: &Registry, metric: M) -> M
where
    M: prometheus::core::Collector + Clone + 'static,
{
    match registry.register(Box::new(metric.clone())) {
        Ok(()) => {}
        Err(error) => tracing::warn!(%error, "a metric is registered twice; its second use is not shown"),
    }
    metric
}

/// A histogram of durations in seconds.
pub fn duration_histogram(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
    let options = HistogramOpts::new(name, help).buckets(BUCKETS.to_vec());
    register(registry, HistogramVec::new(options, labels).expect("the metric is well-formed"))
}

/// An integer gauge.
pub fn int_gauge(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    register(registry, IntGaugeVec::new(Opts::new(name, help), labels).expect("the metric is well-formed"))
}

/// An integer counter.
pub fn int_counter(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> prometheus::IntCounterVec {
    let counter = prometheus::IntCounterVec::new(Opts::new(name, help), labels);
    register(registry, counter.expect("the metric is well-formed"))
}

/// A reason as a label value, such as `worker_lost`.
pub fn reason_label(reason: Reason) -> String {
    let name = reason.as_str_name();
    name.strip_prefix("REASON_").unwrap_or(name).to_lowercase()
}
