//! Gauges that are read when somebody looks, and cost nothing before.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use prometheus::Registry;
use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::{Gauge, LabelPair, Metric, MetricFamily, MetricType};
use tokio::sync::Semaphore;

use super::register;
use crate::health::Readiness;

/// Series: the values of the labels, and what is read.
type Series = Vec<(Vec<String>, f64)>;

/// Gauges of one name.
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

/// A gauge that has these labels and shows what `read` gives. Others of this name differ in the values.
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

/// Gauges that differ in their labels, of which there are as many as `read` gives.
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

/// Shows how many of the permits for `what`, which are `most`, are in use.
pub fn show_permits(registry: &Registry, what: &str, most: usize, permits: &Arc<Semaphore>) {
    let permits = Arc::clone(permits);
    let labels = [("for", what)];
    let help = "Permits that are in use: what runs at once.";
    read_gauge(registry, "funless_permits_in_use", help, &labels, move || {
        most.saturating_sub(permits.available_permits()) as f64
    });
    let help = "Permits that there are; what comes when all are in use is refused as OVERLOADED.";
    read_gauge(registry, "funless_permits_limit", help, &labels, move || most as f64);
}

/// Shows whether a service is ready.
pub fn show_readiness(registry: &Registry, readiness: &Readiness) {
    let ready = readiness.watch();
    read_gauge(registry, "funless_ready", "1 while the service is ready.", &[], move || {
        f64::from(u8::from(*ready.borrow()))
    });
}

/// Shows what this process uses, and which version it is.
pub fn show_process(registry: &Registry) {
    if let Err(error) = registry.register(Box::new(ProcessCollector::for_self())) {
        tracing::warn!(%error, "what this process uses is not shown");
    }
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    read_gauge(registry, "funless_build_info", "1; the label says which version runs.", &version, || 1.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(registry: &Registry) -> String {
        prometheus::TextEncoder::new().encode_to_string(&registry.gather()).expect("a text")
    }

    #[tokio::test]
    async fn permits_of_several_kinds_stand_side_by_side() {
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
            assert!(page.lines().any(|other| other == line), "{line} is in {page}");
        }
        drop(held);
        assert!(text(&registry).contains("funless_permits_in_use{for=\"a\"} 0"));
    }

    #[test]
    fn what_is_not_there_any_more_is_not_shown() {
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
