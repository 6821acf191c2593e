//! Workers, as the scheduler sees them. For administrators.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use mesh::clock::rfc_3339_if_any;
use mesh::hash::Hash;
use proto::scheduler::v1::{ListWorkersRequest, ListWorkersResponse, MetricsSource, WorkerState};
use serde::Serialize;
use utoipa::ToSchema;

use super::Rest;
use super::error::{ApiError, CommonErrors};
use super::extract::Admin;
use super::schema::Data;

/// The workers of the mesh.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Workers {
    /// Ordered by name.
    workers: Vec<WorkerView>,
    /// The problem of the configured metrics source. Null: none.
    metrics_problem: Option<String>,
}

/// A worker.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Worker)]
struct WorkerView {
    name: String,
    /// A new id after each start.
    id: String,
    /// Empty: it has none.
    tag: String,
    labels: BTreeMap<String, String>,
    /// The address at which the scheduler reaches it. Null: only through the stream that the worker has
    /// opened.
    address: Option<String>,
    memory: MemoryView,
    /// The number of CPUs.
    cpus: u32,
    /// CPU utilization, from 0 to 1.
    cpu_use: f64,
    /// The load average of the last minute.
    load_1: f64,
    /// The load average of the last 5 minutes.
    load_5: f64,
    /// The load average of the last 15 minutes.
    load_15: f64,
    /// Running invocations, from all schedulers.
    running: u32,
    /// Running invocations by the tag of the function; the tag is empty for functions without one.
    running_by_tag: BTreeMap<String, u32>,
    /// Invocations that this scheduler has sent to it and that have not ended.
    in_flight: u32,
    /// It accepts no new invocations.
    draining: bool,
    /// The source of memory and CPU utilization: `reports`, the worker's own, or `prometheus`.
    #[schema(example = "reports")]
    metrics_source: &'static str,
    /// RFC 3339. Null: there has been none yet.
    last_report_at: Option<String>,
    /// The number of prepared binaries.
    warm_count: usize,
    /// The SHA3-256 hashes of the prepared binaries, sorted.
    warm: Vec<String>,
}

/// In bytes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WorkerMemory)]
struct MemoryView {
    /// The memory that functions may use. Null: unknown.
    total: Option<u64>,
    /// The part of it that is free, excluding reservations for running invocations. Null: unknown.
    available: Option<u64>,
    /// The memory that running functions use.
    guests: u64,
}

/// Lists the workers, with all data that scheduling uses.
#[utoipa::path(get, path = "/v1/admin/workers", tag = "scheduling",
    responses(
        (status = 200, description = "The workers. Requires an administrator's token.", body = Data<Workers>),
        CommonErrors,
    ))]
pub(super) async fn list_workers(
    State(rest): State<Rest>,
    Admin(caller): Admin,
) -> Result<Json<Data<Workers>>, ApiError> {
    let request = rest.request(&caller, ListWorkersRequest {});
    let reply = rest.channels.cluster().list_workers(request).await?.into_inner();
    Ok(Json(Data { data: Workers::from(reply) }))
}

impl From<ListWorkersResponse> for Workers {
    fn from(ListWorkersResponse { workers, metrics_problem }: ListWorkersResponse) -> Self {
        Self {
            workers: workers.into_iter().map(WorkerView::from).collect(),
            metrics_problem: Some(metrics_problem).filter(|problem| !problem.is_empty()),
        }
    }
}

impl From<WorkerState> for WorkerView {
    fn from(state: WorkerState) -> Self {
        let metrics_source = match state.metrics_source() {
            MetricsSource::Unspecified => "unknown",
            MetricsSource::Reports => "reports",
            MetricsSource::Prometheus => "prometheus",
        };
        let identity = state.identity.unwrap_or_default();
        let load = state.load.unwrap_or_default();
        let known = |bytes: u64| Some(bytes).filter(|_| state.memory_total != 0);
        let hashes = state.code_ready.iter().filter_map(|hash| Hash::try_from(&hash[..]).ok());
        let mut warm: Vec<_> = hashes.map(|hash| hash.to_string()).collect();
        warm.sort();
        Self {
            name: identity.name,
            id: identity.id,
            tag: identity.tag,
            labels: identity.labels.into_iter().collect(),
            address: Some(identity.address).filter(|address| !address.is_empty()),
            memory: MemoryView {
                total: known(state.memory_total),
                available: known(state.memory_available),
                guests: load.memory_guests,
            },
            cpus: load.cpus,
            cpu_use: state.cpu_use,
            load_1: load.load_1,
            load_5: load.load_5,
            load_15: load.load_15,
            running: state.running,
            running_by_tag: state.running_by_tag.into_iter().collect(),
            in_flight: state.in_flight,
            draining: state.draining,
            metrics_source,
            last_report_at: rfc_3339_if_any(state.last_report_ms),
            warm_count: warm.len(),
            warm,
        }
    }
}
