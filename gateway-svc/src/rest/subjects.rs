//! Subjects, the users of the mesh. For administrators.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use proto::registry::v1::{
    CreateSubjectRequest, DeleteSubjectRequest, ListSubjectsRequest, RotateTokenRequest,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::Rest;
use super::error::{ApiError, CommonErrors, Failure};
use super::extract::{Admin, JsonBody, Names, Query};
use super::json;
use super::period::Period;
use super::schema::{Data, Name, RotateTokenQuery, SubjectBody};

/// A subject with its new token.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SubjectWithToken {
    name: String,
    /// Shown only in this response.
    token: String,
}

/// Lists the subjects, ordered by name.
#[utoipa::path(get, path = "/v1/admin/subjects", tag = "subjects",
    responses((status = 200, description = "The subjects.", body = Data<Vec<Name>>), CommonErrors))]
pub(super) async fn list_subjects(
    State(rest): State<Rest>,
    Admin(caller): Admin,
) -> Result<Json<Data<Vec<Name>>>, ApiError> {
    let request = rest.request(&caller, ListSubjectsRequest {});
    let subjects = rest.channels.subjects().list_subjects(request).await?.into_inner().subjects;
    Ok(Json(Data { data: subjects.into_iter().map(|subject| Name { name: subject.name }).collect() }))
}

/// Creates a subject and returns its token, which is never shown again.
#[utoipa::path(post, path = "/v1/admin/subjects", tag = "subjects", request_body = SubjectBody,
    responses(
        (status = 201, description = "Created.", body = Data<SubjectWithToken>),
        (status = 400, description = "The body is not a JSON object with a `subject`.", body = Failure),
        (status = 408, description = "The body did not arrive in time.", body = Failure),
        (status = 413, description = "The body is too large.", body = Failure),
        (status = 415, description = "The body is not JSON.", body = Failure),
        (status = 422, description = "The name is invalid or taken.", body = Failure),
        CommonErrors,
    ))]
pub(super) async fn create_subject(
    State(rest): State<Rest>,
    Admin(caller): Admin,
    body: JsonBody,
) -> Result<(StatusCode, Json<Data<SubjectWithToken>>), ApiError> {
    let [subject] = body.members(["subject"])?;
    let subject = subject.ok_or_else(without_subject)?;
    let [name] = json::members(subject.get(), ["name"]).map_err(|_| without_subject())?;
    let name = json::required_name(name)?;
    let request = rest.request(&caller, CreateSubjectRequest { name, ..Default::default() });
    let reply = rest.channels.subjects().create_subject(request).await?.into_inner();
    let data = SubjectWithToken { name: reply.subject.unwrap_or_default().name, token: reply.token };
    Ok((StatusCode::CREATED, Json(Data { data })))
}

/// Deletes a subject. Its token is refused everywhere within 5 s.
#[utoipa::path(delete, path = "/v1/admin/subjects/{subject}", tag = "subjects",
    params(("subject" = String, Path, description = "The subject's name.")),
    responses(
        (status = 204, description = "Deleted."),
        (status = 403, description = "Administrators cannot delete themselves.", body = Failure),
        (status = 404, description = "No such subject.", body = Failure),
        CommonErrors,
    ))]
pub(super) async fn delete_subject(
    State(rest): State<Rest>,
    Admin(caller): Admin,
    Names(name): Names<String>,
) -> Result<StatusCode, ApiError> {
    let request = rest.request(&caller, DeleteSubjectRequest { name });
    rest.channels.subjects().delete_subject(request).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives a subject a new token, which is never shown again.
///
/// The token before is refused everywhere within 5 s, or at the end of the grace period.
#[utoipa::path(post, path = "/v1/admin/subjects/{subject}/rotate", tag = "subjects",
    params(("subject" = String, Path, description = "The subject's name."), RotateTokenQuery),
    responses(
        (status = 200, description = "The new token.", body = Data<SubjectWithToken>),
        (status = 400, description = "`grace` is not a length of time, or a parameter is unknown.",
            body = Failure),
        (status = 403, description = "The registry's configuration defines the token.", body = Failure),
        (status = 404, description = "No such subject.", body = Failure),
        (status = 422, description = "`grace` is too long.", body = Failure),
        CommonErrors,
    ))]
pub(super) async fn rotate_token(
    State(rest): State<Rest>,
    Admin(caller): Admin,
    Names(name): Names<String>,
    Query(query): Query<RotateTokenQuery>,
) -> Result<Json<Data<SubjectWithToken>>, ApiError> {
    let Period(grace) = query.grace.unwrap_or_default();
    let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
    let request = rest.request(&caller, RotateTokenRequest { name, grace_ms });
    let reply = rest.channels.subjects().rotate_token(request).await?.into_inner();
    let data = SubjectWithToken { name: reply.subject.unwrap_or_default().name, token: reply.token };
    Ok(Json(Data { data }))
}

fn without_subject() -> ApiError {
    ApiError::bad_request(r#"expected {"subject": {"name": "..."}}"#)
}
