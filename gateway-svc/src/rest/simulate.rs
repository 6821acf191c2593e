//! Simulation: places a load on workers that exist only in the request.

use axum::Json;
use axum::extract::State;
use mesh::{Error, Reason};
use proto::scheduler::v1::simulate_request::Policy;
use proto::scheduler::v1::{DefaultPolicy, Placement, SimulateRequest, SimulatedWorker, TimedInvocation};
use serde::{Deserialize, Serialize};
use tonic::Status;
use utoipa::ToSchema;

use super::Rest;
use super::error::{ApiError, CommonErrors, Failure};
use super::extract::{JsonBody, User};
use super::revision::Revision;
use super::schema::Data;

/// The simulation to run. Without `script` and `content`, it uses the default policy.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SimulateBody {
    /// The name of a stored script.
    script: Option<String>,
    /// The text of a script that need not be stored.
    content: Option<String>,
    #[schema(max_items = 10_000)]
    workers: Vec<WorkerSpec>,
    #[schema(max_items = 1_000_000)]
    load: Vec<InvocationSpec>,
    /// For the strategy `random`: the same seed makes the same choices.
    #[serde(default)]
    seed: u64,
}

/// A worker that exists only in a simulation. All code is prepared on it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SimulatedWorker)]
struct WorkerSpec {
    name: String,
    /// In bytes. Absent or 0: unknown.
    #[serde(default)]
    memory_total: u64,
    /// The memory that is free when nothing runs, in bytes. Absent: all of it.
    memory_available: Option<u64>,
}

/// One invocation of a load.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SimulatedInvocation)]
struct InvocationSpec {
    /// Nanoseconds since the start of the load. At the same time, ends come before starts, and starts have
    /// the order of the list.
    at_ns: u64,
    /// The function's tag.
    #[serde(default)]
    tag: String,
    /// In KB. Absent or 0: 64.
    #[serde(default)]
    capacity_kb: u64,
    /// Nanoseconds. Absent: it never ends.
    duration_ns: Option<u64>,
}

/// The placements of a load.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Simulated {
    /// One for each invocation of the load, in the order in which they were placed.
    placements: Vec<PlacementView>,
}

/// The placement of an invocation.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Placement)]
struct PlacementView {
    /// The index of the invocation in the load, from 0.
    invocation: u32,
    /// Empty: nowhere.
    worker: String,
    /// Why nowhere: `no_workers`, `no_matching_tag` or `no_valid_workers`. Empty: it was placed.
    refusal: String,
}

/// Simulates the placement of a load on hypothetical workers. Nothing is run.
#[utoipa::path(post, path = "/v1/app/simulate", tag = "scheduling", request_body = SimulateBody,
    params(
        ("x-funless-revision" = Option<u64>, Header,
            description = "The `X-FunLess-Revision` of a write through another gateway: \
                the simulation sees that write."),
    ),
    responses(
        (status = 200, description = "The placements.", body = Data<Simulated>),
        (status = 400, description = "The body is invalid.", body = Failure),
        (status = 404, description = "No such script.", body = Failure),
        (status = 408, description = "The body did not arrive in time.", body = Failure),
        (status = 413, description = "The body or the response is too large.", body = Failure),
        (status = 415, description = "The body is not JSON.", body = Failure),
        (status = 422, description = "A field is invalid, or the text is not a script.", body = Failure),
        CommonErrors,
    ))]
pub(super) async fn simulate(
    State(rest): State<Rest>,
    User(caller): User,
    seen: Revision,
    body: JsonBody,
) -> Result<Json<Data<Simulated>>, ApiError> {
    let SimulateBody { script, content, workers, load, seed } = body.read()?;
    let policy = match (script, content) {
        (Some(_), Some(_)) => {
            return Err(ApiError::bad_request_because("expected script or content, not both"));
        }
        (Some(script), None) => Policy::Script(script),
        (None, Some(content)) => Policy::Content(content),
        (None, None) => Policy::DefaultPolicy(DefaultPolicy {}),
    };
    let request = SimulateRequest {
        policy: Some(policy),
        workers: workers.into_iter().map(SimulatedWorker::from).collect(),
        load: load.into_iter().map(TimedInvocation::from).collect(),
        seed,
        min_revision: rest.latest_revision.at_least(seen),
    };
    let reply = rest.channels.policies().simulate(rest.request(&caller, request)).await.map_err(refused)?;
    let placements = reply.into_inner().placements.into_iter().map(PlacementView::from).collect();
    Ok(Json(Data { data: Simulated { placements } }))
}

/// Converts an error. The fields have the same names in REST as in gRPC.
fn refused(status: Status) -> ApiError {
    let error = Error::from(status);
    match error.reason {
        Reason::InvalidField if !error.fields.is_empty() => ApiError::fields(error.fields),
        _ => error.into(),
    }
}

impl From<WorkerSpec> for SimulatedWorker {
    fn from(WorkerSpec { name, memory_total, memory_available }: WorkerSpec) -> Self {
        Self { name, memory_total, memory_available }
    }
}

impl From<InvocationSpec> for TimedInvocation {
    fn from(InvocationSpec { at_ns, tag, capacity_kb, duration_ns }: InvocationSpec) -> Self {
        Self { at_ns, tag, capacity_kb, duration_ns }
    }
}

impl From<Placement> for PlacementView {
    fn from(Placement { invocation, worker, refusal }: Placement) -> Self {
        Self { invocation, worker, refusal }
    }
}
