//! How events come in and results go out.

use super::Dashboard;
use super::panel::{Panel, Unit, graph, number};

pub(super) fn dashboard() -> Dashboard {
    let about = "How events come in and results go out.";
    Dashboard::new("funless-events-and-sinks", "FunLess Mesh / Events and sinks", about)
        .variable("event", "Kind of events", "funless_connector_events_total", "kind")
        .variable("sink", "Kind of sinks", "funless_sink_delivered_total", "kind")
        .row("At a glance", at_a_glance())
        .row("Events", events())
        .row("Results", results())
        .row("Dead letters", dead_letters())
}

fn at_a_glance() -> Vec<Panel> {
    vec![
        number("Events", Unit::PerSecond, "Events that come in each second.")
            .query("sum(rate(funless_connector_events_total{outcome=\"received\"}[$__rate_interval]))", ""),
        number("Sources not connected", Unit::Count, "Bindings that have no connection to their source.")
            .query("sum(funless_connector_bindings) - sum(funless_connector_connected)", "")
            .thresholds(1.0, 1.0),
        number("Deliveries", Unit::PerSecond, "Results that stores take each second.")
            .query("sum(rate(funless_sink_delivered_total[$__rate_interval]))", ""),
        number("Results that wait", Unit::Count, "Results in the outbox.")
            .query("max(funless_sink_pending)", "")
            .thresholds(1000.0, 10_000.0),
        number(
            "Stores away",
            Unit::Count,
            "Destinations with an open circuit breaker: they are unavailable and get few requests.",
        )
        .query("sum(funless_sink_breaker_open) or vector(0)", "")
        .thresholds(1.0, 1.0),
        number(
            "Not accounted for",
            Unit::Count,
            "Events and results that are unaccounted for. Anything but 0 is a bug.",
        )
        .query("max(funless_connector_unaccounted_events) + max(funless_sink_unaccounted_results)", "")
        .thresholds(1.0, 1.0),
    ]
}

fn events() -> Vec<Panel> {
    vec![
        graph("Events", Unit::PerSecond, "What became of them: acknowledged ones are done with, whether handled, invalid or dead-lettered.")
            .query(
                "sum by (kind, outcome) (rate(funless_connector_events_total{kind=~\"$event\"}[$__rate_interval]))",
                "{{kind}} {{outcome}}",
            ),
        graph("Duration", Unit::Seconds, "Time from an event's arrival until its source need not send it again: one of twenty takes longer.")
            .query(
                "histogram_quantile(0.95, sum by (kind, le) (rate(funless_connector_event_duration_seconds_bucket{kind=~\"$event\"}[$__rate_interval])))",
                "{{kind}}",
            ),
        graph("In flight", Unit::Count, "Events that are worked on, and how many may be by all bindings together.")
            .query("sum by (kind) (funless_connector_in_flight{kind=~\"$event\"})", "{{kind}}")
            .query("sum by (kind) (funless_connector_in_flight_limit{kind=~\"$event\"})", "{{kind}} limit"),
        graph("Tried again", Unit::PerSecond, "Invocations that the platform failed, by reason.")
            .query(
                "sum by (kind, reason) (rate(funless_connector_retries_total{kind=~\"$event\"}[$__rate_interval]))",
                "{{kind}} {{reason}}",
            ),
        graph("Connected", Unit::Count, "Bindings that run, and those of them that have a connection.")
            .query("sum by (kind) (funless_connector_bindings{kind=~\"$event\"})", "{{kind}} bindings")
            .query("sum by (kind) (funless_connector_connected{kind=~\"$event\"})", "{{kind}} connected"),
        graph("Connections lost", Unit::Count, "In the last five minutes.").query(
            "sum by (kind) (increase(funless_connector_connections_lost_total{kind=~\"$event\"}[5m]))",
            "{{kind}}",
        ),
    ]
}

fn results() -> Vec<Panel> {
    vec![
        graph("Results", Unit::PerSecond, "Taken into the outbox, once for each sink, and delivered.")
            .query("sum(rate(funless_sink_accepted_total[$__rate_interval]))", "taken")
            .query(
                "sum by (kind) (rate(funless_sink_delivered_total{kind=~\"$sink\"}[$__rate_interval]))",
                "{{kind}} delivered",
            ),
        graph("Results that wait", Unit::Ratio, "Of what the outbox may hold, in number and in bytes.")
            .query("max(funless_sink_pending) / min(funless_sink_pending_limit)", "results")
            .query("max(funless_sink_pending_bytes) / min(funless_sink_pending_limit_bytes)", "bytes")
            .thresholds(0.5, 0.8),
        graph("Requests to stores", Unit::Seconds, "One of twenty takes longer.").query(
            "histogram_quantile(0.95, sum by (kind, le) (rate(funless_sink_request_duration_seconds_bucket{kind=~\"$sink\"}[$__rate_interval])))",
            "{{kind}}",
        ),
        graph("Attempts that failed", Unit::PerSecond, "`refused`: the store does not want the result. `away`: the store is not there, which does not count against the result.")
            .query(
                "sum by (kind, cause) (rate(funless_sink_failed_attempts_total{kind=~\"$sink\"}[$__rate_interval]))",
                "{{kind}} {{cause}}",
            ),
        graph("Open circuit breakers", Unit::Count, "1: the destination is unavailable, and gets a request now and then.")
            .query("max by (destination) (funless_sink_breaker_open)", "{{destination}}"),
        graph("Bytes that wait", Unit::Bytes, "Bytes of the results in the outbox.")
            .query("max(funless_sink_pending_bytes)", "bytes"),
    ]
}

fn dead_letters() -> Vec<Panel> {
    vec![
        graph("Dead letters", Unit::Count, "Those that are kept now.")
            .query("max by (kind) (funless_connector_dead_letters{kind=~\"$event\"})", "events of {{kind}}")
            .query("max by (kind) (funless_sink_dead_letters{kind=~\"$sink\"})", "results for {{kind}}"),
        graph("New dead letters", Unit::Count, "In the last five minutes.")
            .query(
                "sum by (kind) (increase(funless_connector_events_total{kind=~\"$event\", outcome=\"dead_lettered\"}[5m]))",
                "events of {{kind}}",
            )
            .query("sum by (kind) (increase(funless_sink_dead_total{kind=~\"$sink\"}[5m]))", "results for {{kind}}"),
        graph("Redriven and purged", Unit::Count, "In the last five minutes.")
            .query("sum(increase(funless_connector_redriven_total[5m]))", "events redriven")
            .query("sum(increase(funless_connector_purged_total[5m]))", "events purged")
            .query("sum(increase(funless_sink_redriven_total[5m]))", "results redriven")
            .query("sum(increase(funless_sink_purged_total[5m]))", "results purged"),
    ]
}
