//! Metrics of the REST port. Those of the gRPC port are the ones of every gRPC server.

use std::time::Instant;

use http::{Method, StatusCode};
use mesh::metrics::{Durations, TraceId};
use prometheus::Registry;

/// The metrics of the REST port.
#[derive(Debug, Clone)]
pub(crate) struct HttpMetrics {
    duration: Durations,
}

impl HttpMetrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            duration: Durations::new(
                registry,
                "funless_http_request_duration_seconds",
                "Time from an HTTP request's arrival to the head of its answer.",
                &["route", "method", "status"],
            ),
        }
    }

    /// Starts to time one request to `route`, a pattern such as `/v1/fn/{module}`.
    pub(crate) fn start(&self, route: &str, method: &Method) -> HttpObservation {
        HttpObservation {
            metrics: self.clone(),
            route: route.to_owned(),
            method: label(method),
            status: None,
            trace: None,
            started: Instant::now(),
        }
    }
}

/// Clients may make up methods; labels are few.
fn label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        _ => "other",
    }
}

/// One request; counted when it is dropped.
pub(crate) struct HttpObservation {
    metrics: HttpMetrics,
    route: String,
    method: &'static str,
    /// None while it runs, and for ever when the client goes away before.
    status: Option<StatusCode>,
    trace: Option<TraceId>,
    started: Instant,
}

impl HttpObservation {
    /// It has ended so, and was seen in this trace.
    pub(crate) fn ended_with(&mut self, status: StatusCode, trace: Option<TraceId>) {
        (self.status, self.trace) = (Some(status), trace);
    }
}

impl Drop for HttpObservation {
    fn drop(&mut self) {
        let status = self.status.as_ref().map_or("cancelled", StatusCode::as_str);
        let labels = [self.route.as_str(), self.method, status];
        self.metrics.duration.observe(&labels, self.started.elapsed().as_secs_f64(), self.trace);
    }
}
