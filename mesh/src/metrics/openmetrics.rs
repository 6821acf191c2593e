//! The OpenMetrics 1.0 format: like Prometheus' text format, with exemplars.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use prometheus::proto::{Histogram, LabelPair, Metric, MetricFamily, MetricType};

use super::durations::{BUCKET, EXEMPLARS, TRACE_ID};

/// The media type that clients of this format accept.
pub(super) const MEDIA_TYPE: &str = "application/openmetrics-text";
/// The content type of a response.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The suffix of a counter's samples.
const TOTAL: &str = "_total";

/// Writes families, each of which occurs once, with their exemplars, which are families of their own; see
/// [`super::durations`].
pub(super) fn encode<'a>(
    families: impl Iterator<Item = &'a MetricFamily>,
    exemplars: &BTreeMap<String, MetricFamily>,
) -> String {
    let mut text = String::new();
    for family in families {
        let exemplars = exemplars.get(&format!("{}{EXEMPLARS}", family.name()));
        Writer { text: &mut text, exemplars: Exemplars::of(exemplars) }.family(family);
    }
    text.push_str("# EOF\n");
    text
}

/// The exemplars of a histogram, by the labels of its series.
struct Exemplars<'a>(HashMap<Vec<(&'a str, &'a str)>, Vec<&'a Metric>>);

impl<'a> Exemplars<'a> {
    fn of(family: Option<&'a MetricFamily>) -> Self {
        let mut by_series: HashMap<_, Vec<&Metric>> = HashMap::new();
        for metric in family.map_or(&[][..], MetricFamily::get_metric) {
            by_series.entry(series(metric)).or_default().push(metric);
        }
        Self(by_series)
    }

    fn of_bucket(&self, series: &[(&str, &str)], bucket: usize) -> Option<&'a Metric> {
        let bucket = bucket.to_string();
        self.0.get(series)?.iter().copied().find(|metric| value_of(metric, BUCKET) == Some(&bucket))
    }
}

/// The labels that identify a series, sorted.
fn series(metric: &Metric) -> Vec<(&str, &str)> {
    let pairs = metric.get_label().iter().map(|pair| (pair.name(), pair.value()));
    let mut own: Vec<_> = pairs.filter(|(name, _)| !matches!(*name, BUCKET | TRACE_ID)).collect();
    own.sort_unstable();
    own
}

fn value_of<'a>(metric: &'a Metric, label: &str) -> Option<&'a str> {
    metric.get_label().iter().find(|pair| pair.name() == label).map(LabelPair::value)
}

struct Writer<'a, 'b> {
    text: &'a mut String,
    exemplars: Exemplars<'b>,
}

impl Writer<'_, '_> {
    fn family(&mut self, family: &MetricFamily) {
        let full = family.name();
        let (name, kind) = match family.get_field_type() {
            // The samples of a counter end in `_total`; the name of its family does not.
            MetricType::COUNTER => match full.strip_suffix(TOTAL) {
                Some(name) => (name, "counter"),
                None => (full, "unknown"),
            },
            MetricType::GAUGE => (full, "gauge"),
            MetricType::HISTOGRAM => (full, "histogram"),
            MetricType::SUMMARY => (full, "summary"),
            MetricType::UNTYPED => (full, "unknown"),
        };
        let _ = writeln!(self.text, "# HELP {name} {}", escaped(family.help()));
        let _ = writeln!(self.text, "# TYPE {name} {kind}");
        for metric in family.get_metric() {
            match family.get_field_type() {
                MetricType::COUNTER => self.sample(full, metric, None, metric.get_counter().get_value()),
                MetricType::GAUGE => self.sample(full, metric, None, metric.get_gauge().get_value()),
                MetricType::HISTOGRAM => self.histogram(full, metric, metric.get_histogram()),
                // The services have no such metrics.
                MetricType::SUMMARY | MetricType::UNTYPED => {}
            }
        }
    }

    fn histogram(&mut self, name: &str, metric: &Metric, histogram: &Histogram) {
        let (buckets, series) = (format!("{name}_bucket"), series(metric));
        let bounds = histogram.get_bucket().iter();
        let bounds = bounds.map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()));
        let all = [(f64::INFINITY, histogram.get_sample_count())];
        let bounds = bounds.filter(|(bound, _)| bound.is_finite()).chain(all);
        for (index, (bound, count)) in bounds.enumerate() {
            let le = number(bound);
            self.start(&buckets, metric, Some(("le", &le)));
            let _ = write!(self.text, " {count}");
            if let Some(exemplar) = self.exemplars.of_bucket(&series, index) {
                self.exemplar(exemplar);
            }
            self.text.push('\n');
        }
        self.sample(&format!("{name}_sum"), metric, None, histogram.get_sample_sum());
        self.start(&format!("{name}_count"), metric, None);
        let _ = writeln!(self.text, " {}", histogram.get_sample_count());
    }

    fn exemplar(&mut self, exemplar: &Metric) {
        let trace_id = value_of(exemplar, TRACE_ID).unwrap_or_default();
        let (value, at) = (number(exemplar.get_gauge().get_value()), exemplar.timestamp_ms() as f64 / 1000.0);
        let _ = write!(self.text, " # {{{TRACE_ID}=\"{trace_id}\"}} {value} {at:.3}");
    }

    fn sample(&mut self, name: &str, metric: &Metric, more: Option<(&str, &str)>, value: f64) {
        self.start(name, metric, more);
        let _ = writeln!(self.text, " {}", number(value));
    }

    /// Writes the name and the labels.
    fn start(&mut self, name: &str, metric: &Metric, more: Option<(&str, &str)>) {
        self.text.push_str(name);
        let own = metric.get_label().iter().map(|pair| (pair.name(), pair.value()));
        for (index, (name, value)) in own.chain(more).enumerate() {
            let open = if index == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{open}{name}=\"{}\"", escaped(value));
        }
        if more.is_some() || !metric.get_label().is_empty() {
            self.text.push('}');
        }
    }
}

/// Formats a number for Prometheus: whole numbers have a fraction, too.
fn number(value: f64) -> String {
    match value {
        value if value.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value => format!("{value:?}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TraceId;
    use prometheus::Registry;

    use super::super::{Durations, int_counter, int_gauge, page, registry_of};
    use super::*;

    fn both(registry: &Registry) -> [String; 2] {
        let accepts = ["application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5", ""];
        accepts.map(|accept| page(std::slice::from_ref(registry), accept).expect("a page").1)
    }

    #[test]
    fn the_format() {
        let registry = registry_of("s");
        int_counter(&registry, "funless_a_total", "All \"a\"s,\nbackslash: \\.", &["x"])
            .with_label_values(&["1\"\\\n"])
            .inc();
        int_gauge(&registry, "funless_b", "B.", &[]).with_label_values::<&str>(&[]).set(-2);
        let durations = Durations::new(&registry, "funless_c_seconds", "C.", &["y"]);
        durations.observe(&["z"], 0.5, None);
        let page = both(&registry)[0].clone();
        let expected = r#"# HELP funless_a All \"a\"s,\nbackslash: \\.
# TYPE funless_a counter
funless_a_total{x="1\"\\\n",service="s"} 1.0
# HELP funless_b B.
# TYPE funless_b gauge
funless_b{service="s"} -2.0
# HELP funless_c_seconds C.
# TYPE funless_c_seconds histogram
funless_c_seconds_bucket{y="z",service="s",le="0.0001"} 0
"#;
        assert!(page.starts_with(expected), "{page}");
        let end = r#"
funless_c_seconds_bucket{y="z",service="s",le="0.25"} 0
funless_c_seconds_bucket{y="z",service="s",le="0.5"} 1
funless_c_seconds_bucket{y="z",service="s",le="1.0"} 1
funless_c_seconds_bucket{y="z",service="s",le="2.5"} 1
funless_c_seconds_bucket{y="z",service="s",le="5.0"} 1
funless_c_seconds_bucket{y="z",service="s",le="10.0"} 1
funless_c_seconds_bucket{y="z",service="s",le="30.0"} 1
funless_c_seconds_bucket{y="z",service="s",le="60.0"} 1
funless_c_seconds_bucket{y="z",service="s",le="+Inf"} 1
funless_c_seconds_sum{y="z",service="s"} 0.5
funless_c_seconds_count{y="z",service="s"} 1
# EOF
"#;
        assert!(page.ends_with(end), "{page}");
    }

    #[test]
    fn each_bucket_has_its_latest_trace_as_an_exemplar_in_openmetrics_only() {
        let registry = registry_of("s");
        let durations = Durations::new(&registry, "funless_c_seconds", "C.", &["y"]);
        let observed = [("a", 0.5, 1), ("a", 0.4, 2), ("a", 0.0001, 3), ("a", 99.0, 4), ("b", 0.5, 5)];
        for (label, seconds, trace) in observed {
            durations.observe(&[label], seconds, Some(TraceId::from(trace)));
        }
        let [openmetrics, text] = both(&registry);
        let shown: Vec<_> = openmetrics.lines().filter_map(|line| line.split_once(" # ")).collect();
        let expected = [
            ("a", "0.0001", "3", "0.0001"),
            ("a", "0.5", "2", "0.4"),
            ("a", "+Inf", "4", "99.0"),
            ("b", "0.5", "5", "0.5"),
        ];
        assert_eq!(shown.len(), expected.len(), "{openmetrics}");
        for ((sample, exemplar), (label, le, trace, value)) in shown.iter().zip(expected) {
            let series = format!("funless_c_seconds_bucket{{y=\"{label}\",service=\"s\",le=\"{le}\"}} ");
            assert!(sample.starts_with(&series), "{sample} should start with {series}");
            let start = format!("{{trace_id=\"{trace:0>32}\"}} {value} ");
            let at = exemplar.strip_prefix(&start).and_then(|at| at.parse::<f64>().ok());
            assert!(at.is_some_and(|at| at > 1.7e9), "{exemplar} should start with {start}");
        }
        assert!(!openmetrics.contains(EXEMPLARS) && !text.contains("trace_id"), "{openmetrics}{text}");

        durations.remove(&["a"]);
        let page = both(&registry)[0].clone();
        assert!(page.contains("y=\"b\"") && !page.contains("y=\"a\""), "{page}");
    }
}
