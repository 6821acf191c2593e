//! Sinks: what receives the results of functions.

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
    /// When the last result was delivered: RFC 3339. Null: none was since its sink service started.
    last_delivery_at: Option<String>,
    /// Null when the state is unknown.
    counts: Option<SinkCountsView>,
}

/// What became of results, each counted once however often it was handed over:
/// `accepted = delivered + pending + dead + purged`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct SinkCountsView {
    pub(super) accepted: u64,
    pub(super) delivered: u64,
    /// Wait for delivery.
    pub(super) pending: u64,
    /// Are dead letters now.
    pub(super) dead: u64,
    /// Were dead letters and have been thrown away.
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

/// Lists the sinks of the functions that the caller reaches, with their state.
#[utoipa::path(get, path = "/v1/sinks", tag = "events and sinks", params(OfFunctions),
    responses(
        (status = 200, description = "The sinks, ordered by function.", body = Data<Vec<OfFunction<SinkView>>>),
        (status = 400, description = "A filter is not what it should be.", body = Failure),
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

/// Sinks with what the sink service tells of them within a short time.
pub(super) async fn show_sinks(rest: &Rest, sinks: Vec<Binding>) -> Vec<SinkView> {
    if sinks.is_empty() {
        return Vec::new();
    }
    let ids = sinks.iter().map(|sink| sink.id.clone()).collect();
    let deadline = Deadline::after(rest.status_timeout);
    let told = status::of_sinks(rest, ids, Wait::No, deadline).await;
    let show = |known: Known<SinkCounts>| SinkView {
        binding: known.binding,
        last_delivery_at: known.last_activity_at,
        counts: known.counts.map(SinkCountsView::from),
    };
    status::known(Role::Sink, sinks, told).map(show).collect()
}
