//! Sinks, which receive the results of functions.

use axum::Json;
use axum::extract::State;
use mesh::deadline::Deadline;
use proto::registry::v1::Binding;
use proto::sink::v1::SinkCounts;
use serde::Serialize;
use utoipa::ToSchema;

use super::Rest;
use super::error::{ApiError, CommonErrors, Failure};
use super::extract::{Query, User};
use super::reached::{OfFunction, OfFunctions, functions, names};
use super::role::Role;
use super::schema::Data;
use super::status::{self, BindingView, Known, Wait};

/// A sink of a function.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SinkView {
    #[serde(flatten)]
    binding: BindingView,
    /// When the last result was delivered: RFC 3339. Null: none since the sink service started.
    last_delivery_at: Option<String>,
    /// Null when the state is unknown.
    counts: Option<SinkCountsView>,
}

/// The outcomes of results. A result is counted once, even if it is sent repeatedly: `accepted = delivered +
/// pending + dead + purged`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct SinkCountsView {
    pub(super) accepted: u64,
    pub(super) delivered: u64,
    /// Waiting for delivery.
    pub(super) pending: u64,
    /// Current dead letters.
    pub(super) dead: u64,
    /// Dead letters that have been purged.
    pub(super) purged: u64,
}

impl From<SinkCounts> for SinkCountsView {
    fn from(counts: SinkCounts) -> Self {
        Self {
            accepted: counts.accepted,
            delivered: counts.delivered,
            pending: counts.pending,
            dead: counts.dead,
            purged: counts.purged,
        }
    }
}

/// Lists the sinks of the functions that the caller has access to, with their state.
#[utoipa::path(get, path = "/v1/sinks", tag = "events and sinks", params(OfFunctions),
    responses(
        (status = 200, description = "The sinks, ordered by function.", body = Data<Vec<OfFunction<SinkView>>>),
        (status = 400, description = "A filter is invalid.", body = Failure),
        (status = 404, description = "No such module or function.", body = Failure),
        CommonErrors,
    ))]
pub(super) async fn list_sinks(
    State(rest): State<Rest>,
    User(caller): User,
    Query(of): Query<OfFunctions>,
) -> Result<Json<Data<Vec<OfFunction<SinkView>>>>, ApiError> {
    let functions = functions(&rest, &caller, of).await?;
    let names = names(&functions, |function| function.sinks.len());
    let sinks = functions.into_iter().flat_map(|function| function.sinks).collect();
    let shown = names.into_iter().zip(show_sinks(&rest, sinks).await);
    let data = shown.map(|((module, function), shown)| OfFunction { module, function, shown }).collect();
    Ok(Json(Data { data }))
}

/// The sinks with the statuses that the sink service returns within a short time.
pub(super) async fn show_sinks(rest: &Rest, sinks: Vec<Binding>) -> Vec<SinkView> {
    if sinks.is_empty() {
        return Vec::new();
    }
    let ids = sinks.iter().map(|sink| sink.id.clone()).collect();
    let deadline = Deadline::after(rest.status_timeout);
    let reports = status::of_sinks(rest, ids, Wait::No, deadline).await;
    let show = |known: Known<SinkCounts>| SinkView {
        binding: known.binding,
        last_delivery_at: known.last_activity_at,
        counts: known.counts.map(SinkCountsView::from),
    };
    status::known(Role::Sink, sinks, reports).map(show).collect()
}
