//! How the workers do.

use super::Dashboard;
use super::panel::{Panel, Unit, graph, quantiles};

const ON_CHOSEN: &str = "{instance=~\"$instance\"}";

pub(super) fn dashboard() -> Dashboard {
    Dashboard::new("funless-workers", "FunLess Mesh / Workers", "How the chosen workers do.")
        .variable("worker", "Worker", "funless_worker_invocations_running", "worker")
        .hidden_variable("instance", "funless_worker_invocations_running{worker=~\"$worker\"}", "instance")
        .row("As the scheduler sees them", seen())
        .row("Machines", machines())
        .row("Runs", runs())
        .row("Cold starts", cold_starts())
        .row("Code in memory and on disk", cached_code())
        .row("Guests", guests())
}

fn seen() -> Vec<Panel> {
    vec![
        graph("Workers", Unit::Count, "Those that take invocations, and those that finish what they have.")
            .query("max by (state) (funless_scheduler_workers)", "{{state}}"),
        graph(
            "Coming and going",
            Unit::Count,
            "In the last five minutes. One that is lost has not said that it drains.",
        )
        .query("sum by (change) (increase(funless_scheduler_worker_changes_total[5m]))", "{{change}}"),
        graph("Ready", Unit::Count, "1: takes invocations. 0: drains.")
            .query("max by (worker) (funless_scheduler_worker_ready{worker=~\"$worker\"})", "{{worker}}"),
        graph("In flight", Unit::Count, "Invocations that were sent there and have not ended.")
            .query("sum by (worker) (funless_scheduler_worker_in_flight{worker=~\"$worker\"})", "{{worker}}"),
        graph(
            "Memory that can be reserved",
            Unit::Bytes,
            "What policies go by: available memory less what is reserved for what runs.",
        )
        .query(
            "min by (worker) (funless_scheduler_worker_reservable_bytes{worker=~\"$worker\"})",
            "{{worker}}",
        ),
        graph(
            "Reports stand in for measurements",
            Unit::Count,
            "1: Prometheus is the scheduler's source, and is away or lacks workers.",
        )
        .query("max(funless_scheduler_metrics_problem)", "problem")
        .thresholds(1.0, 1.0),
    ]
}

fn machines() -> Vec<Panel> {
    vec![
        graph("Available memory", Unit::Ratio, "Of what functions may use.")
            .query(
                "funless_worker_memory_available_bytes{worker=~\"$worker\"} / funless_worker_memory_total_bytes",
                "{{worker}}",
            )
            .thresholds(0.2, 0.1),
        graph("CPU", Unit::Ratio, "Of the CPUs that the worker may use.")
            .query("funless_worker_cpu_use_ratio{worker=~\"$worker\"}", "{{worker}}")
            .thresholds(0.8, 0.95),
        graph("Load for each CPU", Unit::Count, "Runnable tasks of the machine, averaged over a minute.")
            .query("funless_worker_load1{worker=~\"$worker\"} / funless_worker_cpus", "{{worker}}"),
        graph("Guests' memory", Unit::Bytes, "Of what runs, with what the worker holds for it.")
            .query("funless_worker_guest_memory_bytes{worker=~\"$worker\"}", "{{worker}}")
            .stacked(),
        graph("Invocations that run", Unit::Count, "By worker.")
            .query("funless_worker_invocations_running{worker=~\"$worker\"}", "{{worker}}")
            .stacked(),
        graph("Invocations that run, by tag", Unit::Count, "By the tag of the function; untagged ones have none.")
            .query("sum by (tag) (funless_worker_tag_invocations_running{worker=~\"$worker\"})", "{{tag}}")
            .stacked(),
    ]
}

fn runs() -> Vec<Panel> {
    vec![
        graph(
            "Invocations by outcome",
            Unit::PerSecond,
            "As the workers count them: each attempt by itself.",
        )
        .query(
            format!("sum by (outcome) (rate(funless_worker_invocations_total{ON_CHOSEN}[$__rate_interval]))"),
            "{{outcome}}",
        )
        .stacked(),
        quantiles(
            "Wait",
            "funless_worker_queue_duration_seconds",
            ON_CHOSEN,
            "Time until an invocation gets a place and its turn.",
        ),
        quantiles(
            "Run",
            "funless_worker_run_duration_seconds",
            ON_CHOSEN,
            "Time from a fresh instance's making to its end.",
        ),
    ]
}

fn cold_starts() -> Vec<Panel> {
    vec![
        graph("Where code was found", Unit::PerSecond, "In memory: a warm start. On disk: compiled before. In the registry: it is fetched and compiled.")
            .query(
                format!("sum by (level) (rate(funless_worker_code_found_total{ON_CHOSEN}[$__rate_interval]))"),
                "{{level}}",
            )
            .stacked()
            .width(6),
        graph("Phases", Unit::PerSecond, "How often code is fetched, compiled and loaded.")
            .query(
                format!("sum by (phase) (rate(funless_worker_code_phase_seconds_count{ON_CHOSEN}[$__rate_interval]))"),
                "{{phase}}",
            )
            .width(6),
        graph("Duration of the phases", Unit::Seconds, "One of twenty takes longer.")
            .query(
                format!("histogram_quantile(0.95, sum by (phase, le) (rate(funless_worker_code_phase_seconds_bucket{ON_CHOSEN}[$__rate_interval])))"),
                "{{phase}}",
            )
            .width(6),
        quantiles("Instantiation", "funless_worker_instantiate_duration_seconds", ON_CHOSEN, "Time to make a fresh instance, which each invocation gets.")
            .width(6),
        graph("Code that waits for the compiler", Unit::Count, "Awaited by a call or by the creation of a function, or prepared in the background.")
            .query(
                format!("sum by (priority) (funless_worker_code_waiting{ON_CHOSEN})"),
                "{{priority}}",
            )
            .stacked()
            .width(12),
        graph("Failed compilations", Unit::PerSecond, "Platform: the compiler does not work. Timeout and killed: perhaps the machine is too small. Otherwise the code is to blame.")
            .query(
                format!("sum by (reason) (rate(funless_worker_failed_compilations_total{ON_CHOSEN}[$__rate_interval]))"),
                "{{reason}}",
            )
            .width(12),
    ]
}

fn cached_code() -> Vec<Panel> {
    vec![
        graph("Size", Unit::Bytes, "The least recently used code makes room for other code.")
            .query(
                format!("sum by (level) (funless_worker_code_cached_bytes{ON_CHOSEN})"),
                "{{level}}",
            )
            .width(6),
        graph("Functions", Unit::Count, "In memory is what was called lately, on disk what is compiled.")
            .query(
                format!("sum by (level) (funless_worker_code_cached{ON_CHOSEN})"),
                "{{level}}",
            )
            .width(6),
        graph("Evictions", Unit::PerSecond, "Idle code leaves memory. Code that leaves a full disk is compiled again when it is called.")
            .query(
                format!("sum by (level, reason) (rate(funless_worker_code_evicted_total{ON_CHOSEN}[$__rate_interval]))"),
                "{{level}} {{reason}}",
            )
            .width(12),
    ]
}

fn guests() -> Vec<Panel> {
    vec![
        graph("Peak memory of an invocation", Unit::Bytes, "Half of the invocations, and one of a hundred, take more.")
            .query(
                format!("histogram_quantile(0.5, sum by (le) (rate(funless_worker_guest_peak_memory_bytes_bucket{ON_CHOSEN}[$__rate_interval])))"),
                "p50",
            )
            .query(
                format!("histogram_quantile(0.99, sum by (le) (rate(funless_worker_guest_peak_memory_bytes_bucket{ON_CHOSEN}[$__rate_interval])))"),
                "p99",
            )
            .width(6),
        graph("CPU of guests", Unit::Count, "Cores that functions use.")
            .query(
                format!("sum by (instance) (rate(funless_worker_guest_cpu_seconds_total{ON_CHOSEN}[$__rate_interval]))"),
                "{{instance}}",
            )
            .width(6),
        graph("HTTP requests of guests", Unit::PerSecond, "What functions ask of the web.")
            .query(
                format!("sum by (instance) (rate(funless_worker_guest_http_requests_total{ON_CHOSEN}[$__rate_interval]))"),
                "{{instance}}",
            )
            .width(6),
        graph("Kept log lines", Unit::Bytes, "Of functions' consoles, in the bounded memory of the workers.")
            .query(format!("sum by (instance) (funless_worker_log_bytes{ON_CHOSEN})"), "{{instance}}")
            .width(6),
    ]
}
