//! How the mesh does.

use super::Dashboard;
use super::panel::{Panel, Unit, graph, number, quantiles};

pub(super) fn dashboard() -> Dashboard {
    Dashboard::new("funless-overview", "FunLess Mesh / Overview", "How the mesh does as a whole.")
        .row("At a glance", at_a_glance())
        .row("REST", rest())
        .row("Invocations", invocations())
        .row("RPCs between the services", rpcs())
        .row("Saturation", saturation())
        .row("Processes", processes())
}

fn at_a_glance() -> Vec<Panel> {
    vec![
        number("Services that are not ready", Unit::Count, "They run, and lack something; /readyz says what.")
            .query("count(funless_ready == 0) or vector(0)", "")
            .thresholds(1.0, 1.0),
        number("Workers that are ready", Unit::Count, "Workers that take invocations.")
            .query("max(funless_scheduler_workers{state=\"ready\"})", "")
            .thresholds(1.0, 0.5),
        number("Invocations", Unit::PerSecond, "Invocations that end each second, however they do.")
            .query("sum(rate(funless_scheduler_invocations_total[$__rate_interval]))", ""),
        number("REST errors", Unit::Ratio, "Requests that the platform failed: a status from 500 on, and no fault of a function.")
            .query("funless:http_errors:ratio_rate5m", "")
            .thresholds(0.01, 0.05),
        number("Platform errors", Unit::Ratio, "Invocations that failed through no fault of their function.")
            .query("funless:invocation_errors:ratio_rate5m", "")
            .thresholds(0.01, 0.05),
        number("Dead letters", Unit::Count, "Events that could not be handled and results that no store took.")
            .query("sum(max by (kind) (funless_connector_dead_letters)) + sum(max by (kind) (funless_sink_dead_letters))", "")
            .thresholds(1.0, 100.0),
    ]
}

fn rest() -> Vec<Panel> {
    vec![
        graph("Requests", Unit::PerSecond, "HTTP requests by route.")
            .query(
                "sum by (method, route) (rate(funless_http_request_duration_seconds_count[$__rate_interval]))",
                "{{method}} {{route}}",
            )
            .stacked(),
        graph("Answers", Unit::PerSecond, "HTTP requests by status; `cancelled`: the client went away.")
            .query(
                "sum by (status) (rate(funless_http_request_duration_seconds_count[$__rate_interval]))",
                "{{status}}",
            )
            .stacked(),
        quantiles(
            "Duration",
            "funless_http_request_duration_seconds",
            "",
            "Time until the head of the answer. The dots are traces.",
        ),
        graph("Slowest routes", Unit::Seconds, "The time that one request of a hundred takes longer than.")
            .query("topk(10, route:funless_http_request_duration_seconds:p99_rate5m)", "{{route}}")
            .width(12),
        graph("Error ratio", Unit::Ratio, "Requests that the platform failed: a status from 500 on, and no fault of a function.")
            .query("funless:http_errors:ratio_rate5m", "errors")
            .thresholds(0.01, 0.05)
            .width(12),
    ]
}

fn invocations() -> Vec<Panel> {
    vec![
        graph("Invocations by outcome", Unit::PerSecond, "`result` and `function_error` come from the function; what starts with `guest_` is its fault, too.")
            .query(
                "sum by (outcome) (rate(funless_scheduler_invocations_total[$__rate_interval]))",
                "{{outcome}}",
            )
            .stacked(),
        graph("Busiest functions", Unit::PerSecond, "The ten functions that are invoked most.")
            .query("topk(10, function:funless_invocations:rate5m)", "{{function}}"),
        quantiles(
            "Duration",
            "funless_scheduler_invocation_duration_seconds",
            "",
            "From the scheduler's point of view: choice, run, retries, and handing the result to the sinks.",
        ),
        graph("Decisions", Unit::PerSecond, "Choices of a worker, and why none was chosen.")
            .query(
                "sum by (outcome) (rate(funless_scheduler_decisions_total[$__rate_interval]))",
                "{{outcome}}",
            ),
        graph("Attempts given up", Unit::PerSecond, "A worker could not take the invocation, so that another one was tried.")
            .query(
                "sum by (reason) (rate(funless_scheduler_retries_total[$__rate_interval]))",
                "{{reason}}",
            ),
        graph("Warm starts", Unit::Ratio, "The share of invocations whose code was compiled and in memory already.")
            .query("funless:warm_starts:ratio_rate5m", "warm"),
    ]
}

fn rpcs() -> Vec<Panel> {
    vec![
        graph("Calls", Unit::PerSecond, "gRPC calls by the service that is called.")
            .query("service:funless_rpc_requests:rate5m", "{{service}}")
            .stacked(),
        graph("Calls that failed", Unit::PerSecond, "By method and code.").query(
            "sum by (rpc, code) (rate(funless_rpc_server_duration_seconds_count{code!=\"Ok\"}[$__rate_interval]))",
            "{{code}} {{rpc}}",
        ),
        graph("Duration", Unit::Seconds, "One call of a hundred takes longer. Subscriptions last, and count when they end.")
            .query(
                "histogram_quantile(0.99, sum by (rpc, le) (rate(funless_rpc_server_duration_seconds_bucket[$__rate_interval])))",
                "{{rpc}}",
            )
            .exemplars(),
    ]
}

fn saturation() -> Vec<Panel> {
    vec![
        graph("Permits in use", Unit::Ratio, "Of what may run at once. At 100 % the next one is refused as OVERLOADED.")
            .query("max by (service, for) (funless_permits_in_use / funless_permits_limit)", "{{service}} {{for}}")
            .thresholds(0.7, 0.9),
        graph("Refusals", Unit::PerSecond, "Calls that were refused as OVERLOADED.")
            .query("service:funless_refusals:rate5m", "{{service}}"),
        graph("Calls in flight", Unit::Count, "By the service that is called; subscriptions are among them.")
            .query("sum by (service) (funless_rpc_server_in_flight)", "{{service}}"),
        graph("Database connections in use", Unit::Ratio, "Of those that there may be. At 100 % calls wait for one.")
            .query(
                "max by (service) (sum by (instance, service) (funless_database_connections{state=\"in_use\"}) / sum by (instance, service) (funless_database_connections_limit))",
                "{{service}}",
            )
            .thresholds(0.8, 1.0),
        graph("Followers of the registry", Unit::Count, "Subscriptions that the registry serves.")
            .query("sum(funless_registry_watchers)", "followers"),
        graph("Behind the registry", Unit::Count, "Revisions that a scheduler lacks. More than 0 for more than moments is bad.")
            .query(
                "max(funless_registry_revision) - on () group_right () funless_scheduler_catalog_revision",
                "{{instance}}",
            ),
        graph("Registry unreachable", Unit::Seconds, "How long a service has not reached the registry. It goes on with what it knows.")
            .query("max by (service, instance) (funless_registry_unreachable_seconds)", "{{service}} {{instance}}"),
        graph("Checks of tokens", Unit::PerSecond, "At the gateway, by outcome. Throttled ones are of addresses that guess.")
            .query("sum by (outcome) (rate(funless_gateway_token_checks_total[$__rate_interval]))", "{{outcome}}"),
        graph("Denied egress", Unit::PerSecond, "Connections of functions, event sources and sinks that the egress policy has denied.")
            .query("sum by (service, kind) (rate(funless_egress_denied_total[$__rate_interval]))", "{{service}} {{kind}}"),
        graph("Uploads of code", Unit::PerSecond, "Functions that were created or updated.")
            .query("sum by (outcome) (rate(funless_registry_uploads_total[$__rate_interval]))", "{{outcome}}"),
        graph("Spans of traces", Unit::PerSecond, "Exported, or lost: the queue was full, or the collector did not take them.")
            .query("sum by (outcome) (rate(funless_telemetry_spans_total[$__rate_interval]))", "{{outcome}}"),
        graph("Spans that wait", Unit::Count, "They wait for the collector, within `telemetry.queued_spans`.")
            .query("sum by (service) (funless_telemetry_spans_queued)", "{{service}}"),
    ]
}

fn processes() -> Vec<Panel> {
    vec![
        graph("CPU", Unit::Count, "Cores that a process uses.").query(
            "sum by (service, instance) (rate(process_cpu_seconds_total{job=\"funless\"}[$__rate_interval]))",
            "{{service}} {{instance}}",
        ),
        graph("Memory", Unit::Bytes, "Resident memory.").query(
            "sum by (service, instance) (process_resident_memory_bytes{job=\"funless\"})",
            "{{service}} {{instance}}",
        ),
        graph("Open files", Unit::Ratio, "File descriptors, of those that a process may have.")
            .query(
                "max by (service, instance) (process_open_fds{job=\"funless\"} / process_max_fds)",
                "{{service}} {{instance}}",
            )
            .thresholds(0.7, 0.8),
        graph("Threads", Unit::Count, "Threads of a process.").query(
            "sum by (service, instance) (process_threads{job=\"funless\"})",
            "{{service}} {{instance}}",
        ),
        graph("Uptime", Unit::Seconds, "Time since a process has started.")
            .query("time() - process_start_time_seconds{job=\"funless\"}", "{{service}} {{instance}}"),
        graph("Versions", Unit::Count, "Processes by the version that they run.")
            .query("count by (version) (funless_build_info)", "{{version}}"),
    ]
}
