//! How functions do.

use super::Dashboard;
use super::panel::{Panel, Unit, graph, number, quantiles};

const CHOSEN: &str = "{function=~\"$function\"}";

pub(super) fn dashboard() -> Dashboard {
    let about = "How the chosen functions do. After the first so many functions, see `functions_in_metrics`, the rest is `other`.";
    Dashboard::new("funless-function", "FunLess Mesh / Function", about)
        .variable("function", "Function", "funless_scheduler_invocations_total", "function")
        .row("At a glance", at_a_glance())
        .row("Invocations", invocations())
        .row("Failures", failures())
}

fn at_a_glance() -> Vec<Panel> {
    let failed = "sum(rate(funless_scheduler_invocations_total{function=~\"$function\", outcome=~\"function_error|guest_.+|deadline_exceeded|code_unusable\"}[$__rate_interval]))";
    let all = format!("sum(rate(funless_scheduler_invocations_total{CHOSEN}[$__rate_interval]))");
    vec![
        number("Invocations", Unit::PerSecond, "Invocations that end each second, however they do.")
            .query(&*all, "")
            .width(6),
        number("Failures", Unit::Ratio, "The share of them that failed through the function's own fault.")
            .query(format!("({failed} or vector(0)) / ({all} > 0)"), "")
            .thresholds(0.05, 0.5)
            .width(6),
        number("Median", Unit::Seconds, "Half of the invocations take longer.")
            .query(
                format!("histogram_quantile(0.5, sum by (le) (rate(funless_scheduler_invocation_duration_seconds_bucket{CHOSEN}[$__rate_interval])))"),
                "",
            )
            .width(6),
        number("Invocations in the time shown", Unit::Count, "How many there were.")
            .query(format!("sum(increase(funless_scheduler_invocations_total{CHOSEN}[$__range]))"), "")
            .width(6),
    ]
}

fn invocations() -> Vec<Panel> {
    vec![
        graph("Invocations", Unit::PerSecond, "By function.")
            .query(
                format!("sum by (function) (rate(funless_scheduler_invocations_total{CHOSEN}[$__rate_interval]))"),
                "{{function}}",
            )
            .stacked()
            .width(12),
        graph("Outcomes", Unit::PerSecond, "How invocations end.")
            .query(
                format!("sum by (outcome) (rate(funless_scheduler_invocations_total{CHOSEN}[$__rate_interval]))"),
                "{{outcome}}",
            )
            .stacked()
            .width(12),
        quantiles(
            "Duration",
            "funless_scheduler_invocation_duration_seconds",
            CHOSEN,
            "Choice, run, retries, and handing the result to the sinks. The dots are traces.",
        )
        .width(12),
        graph("Duration by function", Unit::Seconds, "One invocation of a hundred takes longer.")
            .query(
                format!("histogram_quantile(0.99, sum by (function, le) (rate(funless_scheduler_invocation_duration_seconds_bucket{CHOSEN}[$__rate_interval])))"),
                "{{function}}",
            )
            .exemplars()
            .width(12),
    ]
}

fn failures() -> Vec<Panel> {
    vec![
        graph("Failures of the function", Unit::Ratio, "It said so, trapped, passed a limit, or cannot be compiled.")
            .query(format!("function:funless_invocation_failures:ratio_rate5m{CHOSEN}"), "{{function}}")
            .thresholds(0.05, 0.5)
            .width(12),
        graph("Failures by outcome", Unit::PerSecond, "All that is not a result, the platform's faults included.")
            .query(
                "sum by (function, outcome) (rate(funless_scheduler_invocations_total{function=~\"$function\", outcome!=\"result\"}[$__rate_interval]))",
                "{{function}} {{outcome}}",
            )
            .width(12),
    ]
}
