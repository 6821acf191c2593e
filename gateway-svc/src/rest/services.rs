//! The services of the mesh: which of them answer, in which version, and what they wait for.

use axum::Json;
use axum::extract::State;
use mesh::channel::Channel;
use mesh::deadline::Deadline;
use proto::scheduler::v1::ListWorkersRequest;
use proto::service::v1::service_status_client::ServiceStatusClient;
use proto::service::v1::{GetServiceStatusRequest, GetServiceStatusResponse};
use serde::Serialize;
use tonic::{Code, Status};
use utoipa::ToSchema;

use super::Rest;
use super::error::{ApiError, CommonErrors};
use super::extract::User;
use super::schema::Data;

/// The state of a mesh.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MeshStatus {
    /// The services, of replicated ones the replica that this gateway reaches.
    services: Vec<ServiceView>,
    /// The workers that have joined. Null: the scheduler does not answer.
    workers: Option<WorkerCounts>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Service)]
struct ServiceView {
    #[schema(example = "registry")]
    name: &'static str,
    /// `ready`, `not_ready` or `unreachable`.
    #[schema(example = "ready")]
    state: &'static str,
    /// Null: unknown.
    #[schema(example = "0.1.0")]
    version: Option<String>,
    /// The conditions that it waits for.
    waits_for: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct WorkerCounts {
    total: usize,
    /// Those that accept no new invocations.
    draining: usize,
}

/// Shows which services of the mesh answer, their versions, and the number of workers.
#[utoipa::path(get, path = "/v1/status", tag = "health",
    responses((status = 200, description = "The state of the mesh.", body = Data<MeshStatus>), CommonErrors))]
pub(super) async fn get_status(
    State(rest): State<Rest>,
    User(_caller): User,
) -> Result<Json<Data<MeshStatus>>, ApiError> {
    let channels = &rest.channels;
    let ask = async |name, client| {
        let request = Deadline::after(rest.status_timeout).attach(GetServiceStatusRequest {});
        ServiceView::new(name, status_of(client, request).await)
    };
    let (registry, scheduler, connector, sink, workers) = tokio::join!(
        ask("registry", channels.registry_status()),
        ask("scheduler", channels.scheduler_status()),
        ask("connector", channels.connector_status()),
        ask("sink", channels.sink_status()),
        count_workers(&rest),
    );
    let gateway = GetServiceStatusResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..GetServiceStatusResponse::default()
    };
    let services = vec![ServiceView::new("gateway", Ok(gateway)), registry, scheduler, connector, sink];
    Ok(Json(Data { data: MeshStatus { services, workers } }))
}

async fn status_of(
    mut client: ServiceStatusClient<Channel>,
    request: tonic::Request<GetServiceStatusRequest>,
) -> Result<GetServiceStatusResponse, Status> {
    match client.get_service_status(request).await {
        Ok(response) => Ok(response.into_inner()),
        // It answers, in a version that does not say more.
        Err(status) if status.code() == Code::Unimplemented => Ok(GetServiceStatusResponse::default()),
        Err(status) => Err(status),
    }
}

async fn count_workers(rest: &Rest) -> Option<WorkerCounts> {
    let request = Deadline::after(rest.status_timeout).attach(ListWorkersRequest {});
    match rest.channels.cluster().list_workers(request).await {
        Ok(response) => {
            let workers = response.into_inner().workers;
            let draining = workers.iter().filter(|worker| worker.draining).count();
            Some(WorkerCounts { total: workers.len(), draining })
        }
        Err(status) => {
            tracing::debug!(%status, "the number of workers is unknown");
            None
        }
    }
}

impl ServiceView {
    fn new(name: &'static str, reply: Result<GetServiceStatusResponse, Status>) -> Self {
        match reply {
            Ok(GetServiceStatusResponse { version, missing_conditions }) => Self {
                name,
                state: if missing_conditions.is_empty() { "ready" } else { "not_ready" },
                version: Some(version).filter(|version| !version.is_empty()),
                waits_for: missing_conditions,
            },
            Err(status) => {
                tracing::debug!(service = name, %status, "a service does not say how it is");
                Self { name, state: "unreachable", version: None, waits_for: Vec::new() }
            }
        }
    }
}
