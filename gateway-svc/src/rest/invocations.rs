//! Recent invocations through this gateway.

mod query;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use mesh::clock::{now_ms, rfc_3339};
use mesh::receipt::Receipt;
use serde::Serialize;
use utoipa::ToSchema;

use super::Rest;
use super::error::{ApiError, CommonErrors, Failure};
use super::extract::{Query, User};
use super::schema::Data;
use crate::recent::{Ended, Invocation, MAX_KEPT, Minute};
use query::{InvocationsQuery, Outcome};

/// Recent invocations.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecentInvocationsView {
    /// Latest first.
    invocations: Vec<RecentInvocationView>,
    /// The minutes of the last hour in which invocations began, oldest first, without filters.
    minutes: Vec<MinuteView>,
    /// How many invocations of all subjects this gateway keeps at most.
    max_kept: usize,
}

/// An invocation that has ended.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RecentInvocation)]
pub(crate) struct RecentInvocationView {
    /// The `X-FunLess-Invocation` of the response.
    id: String,
    /// When it began: RFC 3339.
    at: String,
    /// The subject that invoked the function.
    subject: String,
    module: String,
    function: String,
    #[schema(inline)]
    outcome: Outcome,
    /// The reason of a failure, such as `GUEST_TRAPPED`. Null: there is none.
    reason: Option<&'static str>,
    /// The message of an error; a long one is cut. Null: there is none.
    message: Option<String>,
    /// The `X-FunLess-Decision` of the response. Null: none was made.
    decision: Option<String>,
    /// Null: it was not traced.
    trace_id: Option<String>,
    receipt: ReceiptView,
}

/// The cost of an invocation. Phases that did not take place are 0.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Receipt)]
struct ReceiptView {
    schedule_us: u64,
    queue_us: u64,
    fetch_us: u64,
    compile_us: u64,
    load_us: u64,
    instantiate_us: u64,
    run_us: u64,
    /// Storing the result for sinks.
    keep_us: u64,
    /// All of the above, and the network.
    total_us: u64,
    cpu_us: u64,
    peak_memory_bytes: u64,
    in_bytes: u64,
    out_bytes: u64,
    http_requests: u32,
    /// The number of workers that were tried.
    attempts: u32,
    /// The worker that was tried last. Empty: none.
    worker: String,
}

/// The invocations that began in one minute.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Minute)]
struct MinuteView {
    /// Its beginning: RFC 3339.
    at: String,
    count: u64,
    /// Those that ended without a result.
    errors: u64,
    /// Those for which code was fetched, compiled or loaded.
    cold: u64,
    /// The median of the time in the mesh, in microseconds.
    p50_us: u64,
    /// The 99th percentile.
    p99_us: u64,
}

/// Lists recent invocations through this gateway.
///
/// A subject sees its own, an administrator those of everybody. Events and invocations through the gRPC port are not
/// among them; `/v1/decisions` lists the placements of all. Each gateway keeps its own list in memory.
#[utoipa::path(get, path = "/v1/invocations", tag = "functions", params(InvocationsQuery),
    responses(
        (status = 200, description = "The invocations.", body = Data<RecentInvocationsView>),
        (status = 400, description = "A parameter is invalid.", body = Failure),
        CommonErrors,
    ))]
pub(super) async fn list_invocations(
    State(rest): State<Rest>,
    User(caller): User,
    Query(query): Query<InvocationsQuery>,
) -> Result<Json<Data<RecentInvocationsView>>, ApiError> {
    let limit = query.limit()?;
    let invocations = rest.recent.list(&caller, limit, |invocation| query.matches(invocation));
    let data = RecentInvocationsView {
        invocations: invocations.into_iter().map(RecentInvocationView::from).collect(),
        minutes: rest.recent.minutes(&caller, now_ms()).into_iter().map(MinuteView::from).collect(),
        max_kept: MAX_KEPT,
    };
    Ok(Json(Data { data }))
}

impl From<Arc<Invocation>> for RecentInvocationView {
    fn from(invocation: Arc<Invocation>) -> Self {
        let invocation = Arc::unwrap_or_clone(invocation);
        let known = |text: String| Some(text).filter(|text| !text.is_empty());
        let outcome = Outcome::of(&invocation.ended);
        let (reason, message) = match invocation.ended {
            Ended::Ok => (None, None),
            Ended::FunctionError(message) => (None, Some(message)),
            Ended::Failed(reason, message) => (Some(reason), known(message)),
        };
        Self {
            id: invocation.id,
            at: rfc_3339(invocation.at_ms),
            subject: invocation.caller.owner().to_owned(),
            module: invocation.module,
            function: invocation.function,
            outcome,
            reason,
            message,
            decision: known(invocation.decision),
            trace_id: known(invocation.trace_id),
            receipt: invocation.receipt.into(),
        }
    }
}

impl From<Receipt> for ReceiptView {
    fn from(receipt: Receipt) -> Self {
        Self {
            schedule_us: receipt.schedule_us,
            queue_us: receipt.queue_us,
            fetch_us: receipt.fetch_us,
            compile_us: receipt.compile_us,
            load_us: receipt.load_us,
            instantiate_us: receipt.instantiate_us,
            run_us: receipt.run_us,
            keep_us: receipt.keep_us,
            total_us: receipt.total_us,
            cpu_us: receipt.cpu_us,
            peak_memory_bytes: receipt.peak_memory_bytes,
            in_bytes: receipt.in_bytes,
            out_bytes: receipt.out_bytes,
            http_requests: receipt.http_requests,
            attempts: receipt.attempts,
            worker: receipt.worker,
        }
    }
}

impl From<Minute> for MinuteView {
    fn from(Minute { at_ms, count, errors, cold, p50_us, p99_us }: Minute) -> Self {
        Self { at: rfc_3339(at_ms), count, errors, cold, p50_us, p99_us }
    }
}
