//! Dead letters: events that could not be handled, and results that could not be delivered.

mod filter;
mod keepers;
mod letter;
mod page;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::future::try_join_all;
use http::StatusCode;
use mesh::{Caller, Error, Reason};
use proto::deadletter::v1::{
    DeadLetter, DeadLetterSelection, GetDeadLetterRequest, ListDeadLettersRequest, PurgeDeadLettersRequest,
    RedriveDeadLettersRequest,
};

use super::Rest;
use super::error::{ApiError, CommonErrors, Failure};
use super::extract::{JsonBody, Names, Query, User};
use super::raw;
use super::role::Role;
use super::schema::Data;
use filter::{Filter, PageQuery, PurgeQuery, RedriveBody};
use letter::{DeadLetterView, DeadLetterWithPayload, Purged, RedriveFailureView, Redriven};
use page::{Page, merge};

/// Lists dead letters of the functions that the caller has access to, oldest first, without payloads.
#[utoipa::path(get, path = "/v1/dead-letters", tag = "dead letters", params(Filter, PageQuery),
    responses(
        (status = 200, description = "A page. `next` is the `after` of the next page; null: no more.",
            body = Page),
        (status = 400, description = "A filter is invalid.", body = Failure),
        CommonErrors,
    ))]
pub(super) async fn list_dead_letters(
    State(rest): State<Rest>,
    User(caller): User,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page>, ApiError> {
    let (limit, after) = (query.limit()?, query.after()?);
    let request = ListDeadLettersRequest { filter: Some(query.filter.read()?), page_size: limit, after };
    let list = async |role: Role| {
        let page = keepers::list_dead_letters(&rest, role, &caller, request.clone()).await;
        page.map_err(|status| role.failed(status))
    };
    let pages = try_join_all(query.filter.roles().iter().copied().map(list)).await?;
    Ok(Json(merge(pages, limit)))
}

/// Shows a dead letter with its payload.
///
/// The payload is the function's argument, or its result, unchanged. An invalid event has `payload_base64`
/// instead.
#[utoipa::path(get, path = "/v1/dead-letters/{id}", tag = "dead letters",
    params(("id" = String, Path, description = "The dead letter's id.")),
    responses(
        (status = 200, description = "The dead letter.", body = Data<DeadLetterWithPayload>),
        (status = 404, description = "No such dead letter.", body = Failure),
        CommonErrors,
    ))]
pub(super) async fn get_dead_letter(
    State(rest): State<Rest>,
    User(caller): User,
    Names(id): Names<String>,
) -> Result<Response, ApiError> {
    let (_, mut letter) = find(&rest, &caller, id).await?;
    let payload = std::mem::take(&mut letter.payload);
    let (name, payload) = match letter.invalid {
        true => ("payload_base64", Bytes::from(format!("\"{}\"", BASE64_STANDARD.encode(payload)))),
        false if payload.is_empty() => ("payload", Bytes::from_static(b"null")),
        false => ("payload", payload),
    };
    let head = serde_json::to_string(&DeadLetterView::from(letter)).map_err(ApiError::internal)?;
    let opening = format!(r#"{{"data":{},"{name}":"#, head.trim_end_matches('}'));
    Ok(raw::answer(opening.as_bytes(), &payload, b"}}"))
}

/// Retries a failed event or result with the same invocation id.
///
/// Responds when the attempt has ended: the function is invoked with the event, or the result is queued for
/// delivery.
#[utoipa::path(post, path = "/v1/dead-letters/{id}/redrive", tag = "dead letters",
    params(("id" = String, Path, description = "The dead letter's id.")),
    responses(
        (status = 200, description = "Redriven: it is no longer a dead letter.", body = Data<Redriven>),
        (status = 404, description = "No such dead letter.", body = Failure),
        (status = 422, description = "It failed again and remains. The detail contains the reason.",
            body = Failure),
        CommonErrors,
    ))]
pub(super) async fn redrive_dead_letter(
    State(rest): State<Rest>,
    User(caller): User,
    Names(id): Names<String>,
) -> Result<Json<Data<Redriven>>, ApiError> {
    let (role, letter) = find(&rest, &caller, id).await?;
    let mut done = redrive(&rest, role, &caller, only(letter.id.clone())).await?;
    match (done.redriven, done.failures.pop()) {
        (0, Some(failure)) => {
            let detail = format!("Not redriven: {}", failure.reason);
            Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, detail))
        }
        // Another request has redriven or purged it in the meantime.
        (0, None) => Err(missing(&letter.id)),
        _ => Ok(Json(Data { data: done })),
    }
}

/// Redrives dead letters: those in `ids`, or the oldest that match the filters; events first.
///
/// Dead letters that fail again remain, and are among the oldest the next time. To redrive all, list them and
/// pass their ids page by page.
#[utoipa::path(post, path = "/v1/dead-letters/redrive", tag = "dead letters", request_body = RedriveBody,
    responses(
        (status = 200, description = "The outcome.", body = Data<Redriven>),
        (status = 400, description = "A filter is invalid.", body = Failure),
        (status = 415, description = "The body is not JSON.", body = Failure),
        CommonErrors,
    ))]
pub(super) async fn redrive_dead_letters(
    State(rest): State<Rest>,
    User(caller): User,
    body: JsonBody,
) -> Result<Json<Data<Redriven>>, ApiError> {
    let body: RedriveBody = body.read()?;
    let mut selection = body.selection()?;
    let mut done = Redriven::default();
    for role in body.filter.roles() {
        let redriven = redrive(&rest, *role, &caller, selection.clone()).await;
        let redriven = redriven.map_err(|error| match done.redriven {
            0 => error,
            events => error.with_committed_part(&format!("{events} dead letters of events were redriven")),
        })?;
        let handled = redriven.redriven + redriven.failures.len();
        done.redriven += redriven.redriven;
        done.failures.extend(redriven.failures);
        if !filter::leave(&mut selection, handled) {
            break;
        }
    }
    Ok(Json(Data { data: done }))
}

/// Purges a dead letter.
#[utoipa::path(delete, path = "/v1/dead-letters/{id}", tag = "dead letters",
    params(("id" = String, Path, description = "The dead letter's id.")),
    responses(
        (status = 204, description = "Purged."),
        (status = 404, description = "No such dead letter.", body = Failure),
        CommonErrors,
    ))]
pub(super) async fn purge_dead_letter(
    State(rest): State<Rest>,
    User(caller): User,
    Names(id): Names<String>,
) -> Result<StatusCode, ApiError> {
    let (role, letter) = find(&rest, &caller, id).await?;
    match purge(&rest, role, &caller, only(letter.id.clone())).await? {
        // Another request has redriven or purged it in the meantime.
        0 => Err(missing(&letter.id)),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

/// Purges dead letters: the oldest that match the filters; events first.
///
/// Repeat the request until `purged` is 0 to purge all of them. Requires a filter, or `all=true`.
#[utoipa::path(delete, path = "/v1/dead-letters", tag = "dead letters", params(Filter, PurgeQuery),
    responses(
        (status = 200, description = "The number of purged dead letters.", body = Data<Purged>),
        (status = 400, description = "A filter is invalid, or there is none.", body = Failure),
        CommonErrors,
    ))]
pub(super) async fn purge_dead_letters(
    State(rest): State<Rest>,
    User(caller): User,
    Query(query): Query<PurgeQuery>,
) -> Result<Json<Data<Purged>>, ApiError> {
    let mut selection = query.selection()?;
    let mut purged = 0;
    for role in query.filter.roles() {
        let now = purge(&rest, *role, &caller, selection.clone()).await;
        let now = now.map_err(|error| match purged {
            0 => error,
            events => error.with_committed_part(&format!("{events} dead letters of events were thrown away")),
        })?;
        purged += now;
        if !filter::leave(&mut selection, now) {
            break;
        }
    }
    Ok(Json(Data { data: Purged { purged } }))
}

/// The dead letter with this id, and its role.
async fn find(rest: &Rest, caller: &Caller, id: String) -> Result<(Role, DeadLetter), ApiError> {
    if !filter::is_id(&id) {
        return Err(missing(&id));
    }
    let get = |role| keepers::get_dead_letter(rest, role, caller, GetDeadLetterRequest { id: id.clone() });
    let (event, sink) = tokio::join!(get(Role::Event), get(Role::Sink));
    let mut failure = None;
    for (role, outcome) in [(Role::Event, event), (Role::Sink, sink)] {
        match outcome {
            Ok(reply) => return Ok((role, reply.letter.unwrap_or_default())),
            Err(status) if Error::from(&status).reason == Reason::DeadLetterNotFound => {}
            Err(status) => failure = Some(role.failed(status)),
        }
    }
    // No service that answered has it; one that failed may have it.
    Err(failure.unwrap_or_else(|| missing(&id)))
}

fn missing(id: &str) -> ApiError {
    Error::new(Reason::DeadLetterNotFound, format!("no dead letter {id}")).into()
}

fn only(id: String) -> DeadLetterSelection {
    DeadLetterSelection { ids: vec![id], ..DeadLetterSelection::default() }
}

async fn redrive(
    rest: &Rest,
    role: Role,
    caller: &Caller,
    selection: DeadLetterSelection,
) -> Result<Redriven, ApiError> {
    let request = RedriveDeadLettersRequest { selection: Some(selection) };
    let reply = keepers::redrive_dead_letters(rest, role, caller, request).await;
    let reply = reply.map_err(|status| role.failed(status))?;
    let failures = reply.failures.into_iter().map(RedriveFailureView::from).collect();
    Ok(Redriven { redriven: reply.redriven as usize, failures })
}

async fn purge(
    rest: &Rest,
    role: Role,
    caller: &Caller,
    selection: DeadLetterSelection,
) -> Result<usize, ApiError> {
    let request = PurgeDeadLettersRequest { selection: Some(selection) };
    let reply = keepers::purge_dead_letters(rest, role, caller, request).await;
    Ok(reply.map_err(|status| role.failed(status))?.purged as usize)
}
