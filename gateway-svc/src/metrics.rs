//! Metrics of the REST port. The gRPC port has the metrics of every gRPC server.

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
                "Time from the arrival of an HTTP request to the head of its response.",
                &["route", "method", "status"],
            ),
        }
    }

    /// Starts the observation of a request to `route`, a pattern such as `/v1/fn/{module}`.
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

/// The label of a method. Clients may send any method, so unknown ones share a label.
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

/// The observation of one request; recorded on drop.
pub(crate) struct HttpObservation {
    metrics: HttpMetrics,
    route: String,
    method: &'static str,
    /// `None` until there is a response; it stays `None` if the client disconnects before.
    status: Option<StatusCode>,
    trace: Option<TraceId>,
    started: Instant,
}

impl HttpObservation {
    /// Sets the response's status and the request's trace.
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
