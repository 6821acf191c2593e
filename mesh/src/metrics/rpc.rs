//! Metrics of every gRPC server: calls by status code, their duration, and calls in progress.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use opentelemetry::trace::TraceId;
use prometheus::{IntGaugeVec, Registry};
use prost::Message as _;
use tonic::Code;

use super::{Durations, int_gauge};

/// The metrics of a gRPC server.
#[derive(Debug, Clone)]
pub struct RpcMetrics {
    duration: Durations,
    in_flight: IntGaugeVec,
    /// The paths that are used as labels. All others count as [`UNKNOWN`].
    known: Arc<HashSet<String>>,
}

const UNKNOWN: &str = "unknown";

impl RpcMetrics {
    /// Registers the metrics.
    pub fn new(registry: &Registry) -> Self {
        let descriptors = [proto::FILE_DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET];
        Self {
            known: Arc::new(descriptors.into_iter().flat_map(methods).collect()),
            duration: Durations::new(
                registry,
                "funless_rpc_server_duration_seconds",
                "Time from the arrival of a call to the end of its response.",
                &["rpc", "code"],
            ),
            in_flight: int_gauge(registry, "funless_rpc_server_in_flight", "Calls in progress.", &["rpc"]),
        }
    }

    /// Starts the observation of a call to the path `rpc`.
    pub(crate) fn start(&self, rpc: &str) -> RpcObservation {
        let rpc = if self.known.contains(rpc) { rpc } else { UNKNOWN };
        self.in_flight.with_label_values(&[rpc]).inc();
        RpcObservation {
            metrics: self.clone(),
            rpc: rpc.to_owned(),
            started: Instant::now(),
            code: Code::Cancelled,
            trace: None,
        }
    }
}

/// The paths of the methods in encoded descriptors.
fn methods(descriptors: &[u8]) -> Vec<String> {
    let files =
        prost_types::FileDescriptorSet::decode(descriptors).expect("the descriptors are our own").file;
    let services = files.iter().flat_map(|file| file.service.iter().map(|service| (file.package(), service)));
    let paths = services.flat_map(|(package, service)| {
        let path = move |method: &prost_types::MethodDescriptorProto| {
            format!("/{package}.{}/{}", service.name(), method.name())
        };
        service.method.iter().map(path)
    });
    paths.collect()
}

/// The observation of one call; recorded on drop.
pub(crate) struct RpcObservation {
    metrics: RpcMetrics,
    rpc: String,
    started: Instant,
    /// Cancelled until the response has a status.
    code: Code,
    trace: Option<TraceId>,
}

impl RpcObservation {
    pub(crate) fn ended_with(&mut self, code: Code) {
        self.code = code;
    }

    /// Sets the trace that the call belongs to.
    pub(crate) fn of_trace(&mut self, trace: Option<TraceId>) {
        self.trace = trace;
    }
}

impl Drop for RpcObservation {
    fn drop(&mut self) {
        let code = format!("{:?}", self.code);
        let seconds = self.started.elapsed().as_secs_f64();
        self.metrics.duration.observe(&[&self.rpc, &code], seconds, self.trace);
        self.metrics.in_flight.with_label_values(&[self.rpc.as_str()]).dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_methods_are_labels() {
        let registry = Registry::new();
        let metrics = RpcMetrics::new(&registry);
        for path in ["/funless.worker.v1.Execution/Execute", "/made.up/One", "/made.up/Two"] {
            drop(metrics.start(path));
        }
        let page = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).expect("text");
        let count = |rpc: &str| {
            format!("funless_rpc_server_duration_seconds_count{{code=\"Cancelled\",rpc=\"{rpc}\"}}")
        };
        assert!(page.contains(&format!("{} 1", count("/funless.worker.v1.Execution/Execute"))), "{page}");
        assert!(page.contains(&format!("{} 2", count(UNKNOWN))) && !page.contains("made.up"), "{page}");
    }
}
