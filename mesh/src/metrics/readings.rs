//! Gauges that are computed when they are scraped.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use prometheus::Registry;
use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::{Gauge, LabelPair, Metric, MetricFamily, MetricType};
use tokio::sync::Semaphore;

use super::register;

/// Series: the values of the labels, and the value.
type Series = Vec<(Vec<String>, f64)>;

/// Gauges with one name.
#[derive(Clone)]
struct Readings {
    desc: Desc,
    read: Arc<dyn Fn() -> Series + Send + Sync>,
}

impl fmt::Debug for Readings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Readings").field(&self.desc.fq_name).finish()
    }
}

/// Registers a gauge with these labels and the value that `read` returns. Gauges with the same name need
/// other label values.
pub fn read_gauge(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[(&str, &str)],
    read: impl Fn() -> f64 + Send + Sync + 'static,
) {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let desc = Desc::new(name.to_owned(), help.to_owned(), Vec::new(), labels.collect());
    let desc = desc.expect("the metric is well-formed");
    register(registry, Readings { desc, read: Arc::new(move || vec![(Vec::new(), read())]) });
}

/// Registers gauges with the label values and values that `read` returns.
pub fn read_gauges(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
    read: impl Fn() -> Vec<(Vec<String>, f64)> + Send + Sync + 'static,
) {
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    let desc = Desc::new(name.to_owned(), help.to_owned(), labels, HashMap::new());
    register(registry, Readings { desc: desc.expect("the metric is well-formed"), read: Arc::new(read) });
}

impl Readings {
    fn metric(&self, labels: Vec<String>, value: f64) -> Metric {
        let variable = self.desc.variable_labels.iter().zip(labels).map(|(name, value)| pair(name, value));
        gauge(variable.chain(self.desc.const_label_pairs.iter().cloned()).collect(), value)
    }
}

/// A label.
pub(super) fn pair(name: &str, value: impl Into<String>) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.into());
    pair
}

/// A gauge with these labels.
pub(super) fn gauge(labels: Vec<LabelPair>, value: f64) -> Metric {
    let mut metric = Metric::from_label(labels);
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    metric.set_gauge(gauge);
    metric
}

/// The family of gauges that `desc` describes.
pub(super) fn gauges(desc: &Desc, gauges: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(desc.fq_name.clone());
    family.set_help(desc.help.clone());
    family.set_field_type(MetricType::GAUGE);
    family.set_metric(gauges);
    family
}

impl Collector for Readings {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let series = (self.read)().into_iter();
        vec![gauges(&self.desc, series.map(|(labels, value)| self.metric(labels, value)).collect())]
    }
}

/// Registers gauges of the permits for `what`: those in use, and their limit.
pub fn show_permits(registry: &Registry, what: &str, limit: usize, permits: &Arc<Semaphore>) {
    let permits = Arc::clone(permits);
    show_usage(registry, what, limit, move || limit.saturating_sub(permits.available_permits()));
}

/// Like [`show_permits`], where `in_use` returns the number of permits in use.
pub fn show_usage(
    registry: &Registry,
    what: &str,
    limit: usize,
    in_use: impl Fn() -> usize + Send + Sync + 'static,
) {
    let labels = [("for", what)];
    read_gauge(registry, "funless_permits_in_use", "Permits in use.", &labels, move || in_use() as f64);
    let help = "The maximum number of permits in use; further requests are refused as OVERLOADED.";
    read_gauge(registry, "funless_permits_limit", help, &labels, move || limit as f64);
}

/// Registers the metrics of this process and its version.
pub fn show_process(registry: &Registry) {
    if let Err(error) = registry.register(Box::new(ProcessCollector::for_self())) {
        tracing::warn!(%error, "the metrics of this process are not available");
    }
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    read_gauge(
        registry,
        "funless_build_info",
        "1; the label `version` is the service's version.",
        &version,
        || 1.0,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(registry: &Registry) -> String {
        prometheus::TextEncoder::new().encode_to_string(&registry.gather()).expect("a text")
    }

    #[tokio::test]
    async fn permits_have_a_series_per_kind() {
        let registry = Registry::new();
        let permits = Arc::new(Semaphore::new(3));
        show_permits(&registry, "a", 3, &permits);
        show_permits(&registry, "b", 2, &Arc::new(Semaphore::new(2)));
        let held = permits.acquire().await.expect("open");
        let page = text(&registry);
        for line in [
            "funless_permits_in_use{for=\"a\"} 1",
            "funless_permits_in_use{for=\"b\"} 0",
            "funless_permits_limit{for=\"a\"} 3",
            "funless_permits_limit{for=\"b\"} 2",
        ] {
            assert!(page.lines().any(|other| other == line), "{line} is missing in {page}");
        }
        drop(held);
        assert!(text(&registry).contains("funless_permits_in_use{for=\"a\"} 0"));
    }

    #[test]
    fn removed_series_are_not_shown() {
        let registry = Registry::new();
        let names = Arc::new(parking_lot::Mutex::new(vec!["a", "b"]));
        let read = Arc::clone(&names);
        read_gauges(&registry, "size", "Sizes.", &["name"], move || {
            read.lock().iter().map(|name| (vec![(*name).to_owned()], 1.0)).collect()
        });
        assert!(text(&registry).contains("size{name=\"b\"} 1"));
        names.lock().pop();
        assert!(!text(&registry).contains("size{name=\"b\"}"));
        names.lock().clear();
        assert_eq!(text(&registry), "");
    }
}
