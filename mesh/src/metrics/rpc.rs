//! Metrics of every gRPC server: calls by status code, their duration, and calls in progress.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use opentelemetry::trace::TraceId;
use prometheus::{Histogram, IntGauge, IntGaugeVec, Registry};
use prost::Message as _;
use tonic::Code;

use super::{Durations, int_gauge};

/// The metrics of a gRPC server.
#[derive(Debug, Clone)]
pub struct RpcMetrics {
    /// The methods whose paths are used as labels.
    known: Arc<HashMap<String, Arc<MethodMetrics>>>,
    /// All others, which count as [`UNKNOWN`].
    unknown: Arc<MethodMetrics>,
}

const UNKNOWN: &str = "unknown";
/// gRPC's codes are numbered from 0.
const CODES: usize = 17;

/// The metrics of one method. A series is there from the first call that needs it.
#[derive(Debug)]
struct MethodMetrics {
    rpc: String,
    all_durations: Durations,
    all_in_flight: IntGaugeVec,
    in_flight: OnceLock<IntGauge>,
    /// By code.
    durations: [OnceLock<Histogram>; CODES],
}

impl RpcMetrics {
    /// Registers the metrics.
    pub fn new(registry: &Registry) -> Self {
        let durations = Durations::new(
            registry,
            "funless_rpc_server_duration_seconds",
            "Time from the arrival of a call to the end of its response.",
            &["rpc", "code"],
        );
        let in_flight = int_gauge(registry, "funless_rpc_server_in_flight", "Calls in progress.", &["rpc"]);
        let method = |rpc: String| {
            Arc::new(MethodMetrics {
                rpc,
                all_durations: durations.clone(),
                all_in_flight: in_flight.clone(),
                in_flight: OnceLock::new(),
                durations: Default::default(),
            })
        };
        let descriptors = [proto::FILE_DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET];
        let known = descriptors.into_iter().flat_map(methods).map(|rpc| (rpc.clone(), method(rpc)));
        Self { known: Arc::new(known.collect()), unknown: method(UNKNOWN.to_owned()) }
    }

    /// Starts the observation of a call to the path `rpc`.
    pub(crate) fn start(&self, rpc: &str) -> RpcObservation {
        let method = Arc::clone(self.known.get(rpc).unwrap_or(&self.unknown));
        method.in_flight().inc();
        RpcObservation { method, started: Instant::now(), code: Code::Cancelled, trace: None }
    }
}

impl MethodMetrics {
    fn in_flight(&self) -> &IntGauge {
        self.in_flight.get_or_init(|| self.all_in_flight.with_label_values(&[self.rpc.as_str()]))
    }

    fn observe(&self, code: Code, seconds: f64, trace: Option<TraceId>) {
        let labels = || [self.rpc.clone(), format!("{code:?}")];
        let series = self.durations[code as usize].get_or_init(|| self.all_durations.series(&labels()));
        series.observe(seconds);
        if let Some(trace) = trace {
            self.all_durations.keep_exemplar(&labels(), seconds, trace);
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
    method: Arc<MethodMetrics>,
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
        self.method.observe(self.code, self.started.elapsed().as_secs_f64(), self.trace);
        self.method.in_flight().dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_series() {
        let (registry, codes) = (Registry::new(), 0..CODES);
        let metrics = RpcMetrics::new(&registry);
        for code in codes.clone() {
            metrics.start("/funless.worker.v1.Execution/Execute").ended_with(Code::from_i32(code as i32));
        }
        let page = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).expect("text");
        for code in codes {
            let count = format!("_count{{code=\"{:?}\"", Code::from_i32(code as i32));
            assert!(page.contains(&count), "{count} is missing in {page}");
        }
        assert_eq!(Code::from_i32(CODES as i32), Code::Unknown, "there are no more codes");
    }

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
