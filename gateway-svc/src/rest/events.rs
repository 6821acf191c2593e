//! Events, which trigger functions.

use axum::Json;
use axum::extract::State;
use mesh::deadline::Deadline;
use proto::connector::v1::EventCounts;
use proto::registry::v1::Binding;
use serde::Serialize;
use utoipa::ToSchema;

use super::Rest;
use super::error::{ApiError, CommonErrors, Failure};
use super::extract::{Query, User};
use super::reached::{OfFunction, OfFunctions, functions, names};
use super::role::Role;
use super::schema::Data;
use super::status::{self, BindingView, Known, Wait};

/// An event of a function.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EventView {
    #[serde(flatten)]
    binding: BindingView,
    /// When the last event was received: RFC 3339. Null: none since the connector started.
    last_event_at: Option<String>,
    /// Null when the state is unknown.
    counts: Option<EventCountsView>,
}

/// The outcomes of events. An event is counted once, even if its source redelivers it: `received =
/// acknowledged + in_flight + lost`, and `dead_lettered = dead_letters + redriven + purged`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct EventCountsView {
    pub(super) received: u64,
    /// Handled: the source need not send it again.
    pub(super) acknowledged: u64,
    pub(super) in_flight: u64,
    /// Was in flight when the connector crashed, and its source no longer has it.
    pub(super) lost: u64,
    /// Acknowledged events with a payload that the binding does not accept.
    pub(super) invalid: u64,
    /// Acknowledged events that became dead letters.
    pub(super) dead_lettered: u64,
    /// Current dead letters.
    pub(super) dead_letters: u64,
    /// Dead letters that have been handled by a redrive.
    pub(super) redriven: u64,
    /// Dead letters that have been purged.
    pub(super) purged: u64,
}

impl From<EventCounts> for EventCountsView {
    fn from(counts: EventCounts) -> Self {
        Self {
            received: counts.received,
            acknowledged: counts.acknowledged,
            in_flight: counts.in_flight,
            lost: counts.lost,
            invalid: counts.invalid,
            dead_lettered: counts.dead_lettered,
            dead_letters: counts.dead_letters,
            redriven: counts.redriven,
            purged: counts.purged,
        }
    }
}

/// Lists the events of the functions that the caller has access to, with their state.
#[utoipa::path(get, path = "/v1/events", tag = "events and sinks", params(OfFunctions),
    responses(
        (status = 200, description = "The events, ordered by function.", body = Data<Vec<OfFunction<EventView>>>),
        (status = 400, description = "A filter is invalid.", body = Failure),
        (status = 404, description = "No such module or function.", body = Failure),
        CommonErrors,
    ))]
pub(super) async fn list_events(
    State(rest): State<Rest>,
    User(caller): User,
    Query(of): Query<OfFunctions>,
) -> Result<Json<Data<Vec<OfFunction<EventView>>>>, ApiError> {
    let functions = functions(&rest, &caller, of).await?;
    let names = names(&functions, |function| function.events.len());
    let events = functions.into_iter().flat_map(|function| function.events).collect();
    let shown = names.into_iter().zip(show_events(&rest, events).await);
    let data = shown.map(|((module, function), shown)| OfFunction { module, function, shown }).collect();
    Ok(Json(Data { data }))
}

/// The events with the statuses that the connector returns within a short time.
pub(super) async fn show_events(rest: &Rest, events: Vec<Binding>) -> Vec<EventView> {
    if events.is_empty() {
        return Vec::new();
    }
    let ids = events.iter().map(|event| event.id.clone()).collect();
    let deadline = Deadline::after(rest.status_timeout);
    let reports = status::of_events(rest, ids, Wait::No, deadline).await;
    let show = |known: Known<EventCounts>| EventView {
        binding: known.binding,
        last_event_at: known.last_activity_at,
        counts: known.counts.map(EventCountsView::from),
    };
    status::known(Role::Event, events, reports).map(show).collect()
}
