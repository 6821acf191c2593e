//! The scheduler's metrics.

use std::time::Instant;

use mesh::metrics::{Capped, Durations, int_counter, int_gauge, reason_label};
use mesh::telemetry::sampled_trace_id;
use mesh::{Error, Reason};
use prometheus::core::Collector as _;
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Registry};
use proto::registry::v1::Function;
use proto::scheduler::v1::InvokeResponse;
use proto::scheduler::v1::invoke_response::Outcome;

use crate::catalog::Catalog;
use crate::policy::Refusal;

/// The label of invocations of functions that do not exist.
const UNKNOWN: &str = "unknown";
/// The outcome of an invocation whose caller went away.
const ABANDONED: &str = "abandoned";

/// Recorded by dispatch and membership.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Decisions by outcome: `chosen`, or why no worker was.
    pub decisions: IntCounterVec,
    /// Attempts that failed and were retried on another worker, by reason.
    pub retries: IntCounterVec,
    /// Workers by state: `ready` or `draining`.
    pub workers: IntGaugeVec,
    /// Workers that joined, left or were lost.
    pub worker_changes: IntCounterVec,
    /// 1 while Prometheus lacks measurements.
    pub metrics_problem: IntGauge,
    /// By function and outcome.
    invocations: IntCounterVec,
    /// By function.
    duration: Durations,
    /// The functions that have labels of their own.
    functions: Capped,
}

impl Metrics {
    /// Registers the metrics. At most `most_functions` have labels of their own.
    pub fn new(registry: &Registry, most_functions: usize) -> Self {
        let no_labels: &[&str] = &[];
        let this = Self {
            decisions: int_counter(
                registry,
                "funless_scheduler_decisions_total",
                "Decisions by outcome: chosen, or why no worker was.",
                &["outcome"],
            ),
            retries: int_counter(
                registry,
                "funless_scheduler_retries_total",
                "Attempts that failed on one worker and were retried on another, by reason.",
                &["reason"],
            ),
            workers: int_gauge(
                registry,
                "funless_scheduler_workers",
                "Workers that have joined, by state.",
                &["state"],
            ),
            worker_changes: int_counter(
                registry,
                "funless_scheduler_worker_changes_total",
                "Workers that joined, left after draining, or were lost.",
                &["change"],
            ),
            metrics_problem: int_gauge(
                registry,
                "funless_scheduler_metrics_problem",
                "1 while reports of workers replace measurements that Prometheus lacks.",
                no_labels,
            )
            .with_label_values(no_labels),
            invocations: int_counter(
                registry,
                "funless_scheduler_invocations_total",
                "Invocations that have ended, by function and outcome.",
                &["function", "outcome"],
            ),
            duration: Durations::new(
                registry,
                "funless_scheduler_invocation_duration_seconds",
                "Duration of an invocation: placement, run, retries, and storing the result for its sinks.",
                &["function"],
            ),
            functions: Capped::new(most_functions),
        };
        this.create_series();
        this
    }

    /// Creates the series with value 0, so that the first event is an increase.
    fn create_series(&self) {
        let refusals = [Refusal::NoWorkers, Refusal::NoMatchingTag, Refusal::NoValidWorkers];
        for outcome in refusals.map(Refusal::as_str).into_iter().chain(["chosen"]) {
            self.decisions.with_label_values(&[outcome]);
        }
        for reason in [Reason::Unavailable, Reason::Overloaded, Reason::ConnectionLost] {
            self.retries.with_label_values(&[reason_label(reason).as_str()]);
        }
        for change in ["joined", "left", "lost"] {
            self.worker_changes.with_label_values(&[change]);
        }
        for state in ["ready", "draining"] {
            self.workers.with_label_values(&[state]);
        }
    }

    /// Counts an attempt that failed for `reason` and is retried.
    pub fn count_retry(&self, reason: Reason) {
        self.retries.with_label_values(&[reason_label(reason).as_str()]).inc();
    }

    /// Counts a decision. `None`: a worker was chosen.
    pub fn count_decision(&self, refusal: Option<Refusal>) {
        self.decisions.with_label_values(&[refusal.map_or("chosen", Refusal::as_str)]).inc();
    }

    /// Observes an invocation. It is counted when the observation is dropped, as abandoned by its caller
    /// unless an outcome was set.
    pub fn invocation(&self) -> Observation {
        Observation {
            metrics: self.clone(),
            function: None,
            outcome: ABANDONED.to_owned(),
            trace: None,
            started: Instant::now(),
        }
    }

    /// Removes the series of functions that were deleted, if other functions need their labels.
    pub fn remove_deleted(&self, catalog: &Catalog) {
        let exists = |label: &str| {
            let name = label.split_once('/');
            name.is_some_and(|(module, name)| catalog.function(module, name).is_some())
        };
        for function in self.functions.make_room(exists) {
            self.duration.remove(&[&function]);
            for family in self.invocations.collect() {
                // Labels are ordered by name.
                for series in family.get_metric() {
                    if let [of, outcome] = series.get_label()
                        && of.value() == function
                    {
                        let _ = self.invocations.remove_label_values(&[of.value(), outcome.value()]);
                    }
                }
            }
        }
    }
}

/// One invocation.
#[derive(Debug)]
pub struct Observation {
    metrics: Metrics,
    /// `module/name`. It becomes a label at the end, since labels may be taken away in the meantime.
    function: Option<String>,
    outcome: String,
    trace: Option<mesh::metrics::TraceId>,
    started: Instant,
}

impl Observation {
    /// Sets the function, which exists.
    pub fn set_function(&mut self, function: &Function) {
        self.function = Some(format!("{}/{}", function.module, function.name));
    }

    /// Sets the outcome.
    pub fn set_outcome(&mut self, end: &Result<InvokeResponse, Error>) {
        self.trace = sampled_trace_id();
        self.outcome = match end {
            Ok(InvokeResponse { outcome: Some(Outcome::FunctionError(_)), .. }) => "function_error".into(),
            Ok(_) => "result".into(),
            Err(error) => reason_label(error.reason),
        };
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        let Self { metrics, function, outcome, trace, started } = self;
        let function = function.as_deref().map_or(UNKNOWN, |function| metrics.functions.label(function));
        metrics.invocations.with_label_values(&[function, &**outcome]).inc();
        metrics.duration.observe(&[function], started.elapsed().as_secs_f64(), *trace);
    }
}

#[cfg(test)]
mod tests {
    use mesh::follow::Update;
    use prometheus::TextEncoder;
    use proto::registry::v1::Snapshot;

    use super::*;

    fn function(name: &str) -> Function {
        Function { id: name.into(), module: "m".into(), name: name.into(), ..Function::default() }
    }

    fn invoke(metrics: &Metrics, function: &Function, end: &Result<InvokeResponse, Error>) {
        let mut observed = metrics.invocation();
        observed.set_function(function);
        observed.set_outcome(end);
    }

    /// The samples of invocations, without those that are 0.
    fn counted(registry: &Registry) -> Vec<String> {
        let page = TextEncoder::new().encode_to_string(&registry.gather()).expect("a text");
        let samples =
            page.lines().filter_map(|line| line.strip_prefix("funless_scheduler_invocations_total"));
        samples.map(str::to_owned).collect()
    }

    #[test]
    fn invocations_by_function_and_outcome() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry, 10);
        let outcome = Some(Outcome::FunctionError("no".into()));
        for end in [
            Ok(InvokeResponse::default()),
            Ok(InvokeResponse { outcome, ..InvokeResponse::default() }),
            Err(Error::new(Reason::WorkerLost, "lost")),
        ] {
            invoke(&metrics, &function("f"), &end);
        }
        drop(metrics.invocation());
        let expected = [
            r#"{function="m/f",outcome="function_error"} 1"#,
            r#"{function="m/f",outcome="result"} 1"#,
            r#"{function="m/f",outcome="worker_lost"} 1"#,
            r#"{function="unknown",outcome="abandoned"} 1"#,
        ];
        assert_eq!(counted(&registry), expected);
    }

    #[test]
    fn a_deleted_function_gives_its_label_to_another_one() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry, 2);
        let catalog = Catalog::default();
        let has = |names: &[&str]| {
            let functions = names.iter().map(|name| function(name)).collect();
            catalog.apply(Update::Snapshot(Snapshot { functions, ..Snapshot::default() }, 1));
            metrics.remove_deleted(&catalog);
        };
        let invoke_all = |names: &[&str]| {
            names.iter().for_each(|name| {
                invoke(&metrics, &function(name), &Ok(InvokeResponse::default()));
            });
        };
        has(&["a", "b", "c"]);
        invoke_all(&["a", "b", "c", "a"]);
        let sample = |function: &str, count| format!(r#"{{function="{function}",outcome="result"}} {count}"#);
        assert_eq!(counted(&registry), [sample("m/a", 2), sample("m/b", 1), sample("other", 1)]);

        has(&["b", "c"]);
        invoke_all(&["c"]);
        assert_eq!(counted(&registry), [sample("m/b", 1), sample("m/c", 1), sample("other", 1)]);
        let page = TextEncoder::new().encode_to_string(&registry.gather()).expect("a text");
        assert!(!page.contains("m/a"), "its durations are removed, too: {page}");
    }
}
