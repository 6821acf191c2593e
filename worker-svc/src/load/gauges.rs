//! The load as Prometheus metrics, measured on each scrape.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, IntGaugeVec, Opts};

use super::meter::{LoadMeter, LoadSample};

/// Tags with a time series of their own: those seen first. Any user can make up tags.
const MAX_TAGS: usize = 100;
/// The label of all other tags.
const OTHER: &str = "other";

/// Gauges of a worker's load, all with the label `worker`. Clones are the same gauges.
#[derive(Clone)]
pub(crate) struct LoadGauges(Arc<Inner>);

struct Inner {
    meter: Arc<LoadMeter>,
    memory_total: Gauge,
    memory_available: Gauge,
    memory_free: Gauge,
    load_1: Gauge,
    load_5: Gauge,
    load_15: Gauge,
    cpus: Gauge,
    cpu_use: Gauge,
    running: Gauge,
    running_by_tag: IntGaugeVec,
    /// The tags that have a time series. Locked while they are set and collected.
    tags: Mutex<BTreeSet<String>>,
}

impl LoadGauges {
    /// The load of the worker with this name, as `meter` measures it.
    pub(crate) fn new(meter: Arc<LoadMeter>, worker: &str) -> Self {
        let options = |name: &str, help: &str| {
            Opts::new(format!("funless_worker_{name}"), help).const_label("worker", worker)
        };
        let gauge = |name: &str, help: &str| {
            Gauge::with_opts(options(name, help)).expect("the metric is well-formed")
        };
        let by_tag =
            options("tag_invocations_running", "Invocations that are running, by the tag of the function.");
        Self(Arc::new(Inner {
            meter,
            memory_total: gauge("memory_total_bytes", "Memory for functions."),
            memory_available: gauge("memory_available_bytes", "Memory for functions that is available."),
            memory_free: gauge(
                "memory_free_bytes",
                "Memory for functions that nothing uses, not even a cache.",
            ),
            load_1: gauge("load1", "The load average of the last minute."),
            load_5: gauge("load5", "The load average of the last 5 minutes."),
            load_15: gauge("load15", "The load average of the last 15 minutes."),
            cpus: gauge("cpus", "CPUs that the worker may use."),
            cpu_use: gauge("cpu_use_ratio", "The share of the CPUs that is in use, from 0 to 1."),
            running: gauge("invocations_running", "Invocations that are running."),
            running_by_tag: IntGaugeVec::new(by_tag, &["tag"]).expect("the metric is well-formed"),
            tags: Mutex::default(),
        }))
    }
}

impl Inner {
    fn gauges(&self) -> [&Gauge; 9] {
        [
            &self.memory_total,
            &self.memory_available,
            &self.memory_free,
            &self.load_1,
            &self.load_5,
            &self.load_15,
            &self.cpus,
            &self.cpu_use,
            &self.running,
        ]
    }

    fn set(&self, LoadSample { load, memory_free }: &LoadSample, tags: &mut BTreeSet<String>) {
        self.memory_total.set(load.memory_total as f64);
        self.memory_available.set(load.memory_available as f64);
        self.memory_free.set(*memory_free as f64);
        self.load_1.set(load.load_1);
        self.load_5.set(load.load_5);
        self.load_15.set(load.load_15);
        self.cpus.set(load.cpus.into());
        self.cpu_use.set(load.cpu_use);
        self.running.set(load.running.into());

        // A tag without running invocations stays, at zero.
        tags.iter().for_each(|tag| self.running_by_tag.with_label_values(&[tag]).set(0));
        if tags.len() == MAX_TAGS {
            self.running_by_tag.with_label_values(&[OTHER]).set(0);
        }
        for work in &load.work {
            if tags.len() < MAX_TAGS && !tags.contains(&work.tag) {
                tags.insert(work.tag.clone());
            }
            let tag = if tags.contains(&work.tag) { &work.tag } else { OTHER };
            self.running_by_tag.with_label_values(&[tag]).add(work.running.into());
        }
    }
}

impl Collector for LoadGauges {
    fn desc(&self) -> Vec<&Desc> {
        let gauges = self.0.gauges().into_iter().flat_map(Collector::desc);
        gauges.chain(self.0.running_by_tag.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut tags = self.0.tags.lock();
        self.0.set(&self.0.meter.measure(), &mut tags);
        let gauges = self.0.gauges().into_iter().flat_map(Collector::collect);
        gauges.chain(self.0.running_by_tag.collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::*;
    use crate::config::Config;
    use crate::metrics::Metrics;
    use crate::running::{InvocationKey, RunningInvocations};

    /// The number of running invocations by tag.
    fn by_tag(registry: &Registry) -> Vec<(String, f64)> {
        let families = registry.gather();
        let family = families.iter().find(|family| family.name() == "funless_worker_tag_invocations_running");
        let series = family.map_or(&[][..], |family| family.get_metric()).iter().map(|series| {
            let [tag, worker] = series.get_label() else { panic!("two labels: {series:?}") };
            assert_eq!((tag.name(), worker.name(), worker.value()), ("tag", "worker", "w"));
            (tag.value().to_owned(), series.get_gauge().get_value())
        });
        series.collect()
    }

    #[test]
    fn the_number_of_tags_with_a_series_is_bounded() {
        let (work, metrics) = (RunningInvocations::default(), Metrics::new(&Registry::new(), "w"));
        let meter = LoadMeter::new(&Config::default(), work.clone(), &metrics).expect("a measurable machine");
        let registry = Registry::new();
        let gauges = LoadGauges::new(Arc::new(meter), "w");
        registry.register(Box::new(gauges)).expect("well-formed");
        assert_eq!(by_tag(&registry), []);

        let begin = |tag: &str| work.begin(InvocationKey { scheduler_id: "s".into(), tag: tag.into() }, 64);
        let (first, again) = (begin(""), begin(""));
        assert_eq!(by_tag(&registry), [(String::new(), 2.0)]);
        drop((first, again));
        assert_eq!(by_tag(&registry), [(String::new(), 0.0)], "a tag that was seen stays");

        let running: Vec<_> = (0..MAX_TAGS + 4).map(|number| begin(&number.to_string())).collect();
        let of = |wanted: &str| {
            let series = by_tag(&registry);
            assert_eq!(series.len(), MAX_TAGS + 1);
            series.into_iter().find(|(tag, _)| tag == wanted).map(|(_, count)| count)
        };
        assert_eq!((of(""), of(OTHER)), (Some(0.0), Some(5.0)));
        drop(running);
        assert_eq!(of(OTHER), Some(0.0));
        let one_more = begin("not seen before");
        assert_eq!((of(OTHER), of("not seen before")), (Some(1.0), None));
        drop(one_more);
    }
}
