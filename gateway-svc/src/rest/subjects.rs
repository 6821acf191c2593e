//! Subjects, the users of the mesh. For administrators.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use proto::registry::v1::{CreateSubjectRequest, DeleteSubjectRequest, ListSubjectsRequest};
use serde::Serialize;
use utoipa::ToSchema;

use super::Rest;
use super::error::{ApiError, CommonErrors, Failure};
use super::extract::{Admin, JsonBody, Names};
use super::json;
use super::schema::{Data, Name, SubjectBody};

/// A new subject.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SubjectCreated {
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
        (status = 201, description = "Created.", body = Data<SubjectCreated>),
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
) -> Result<(StatusCode, Json<Data<SubjectCreated>>), ApiError> {
    let [subject] = body.members(["subject"])?;
    let subject = subject.ok_or_else(without_subject)?;
    let [name] = json::members(subject.get(), ["name"]).map_err(|_| without_subject())?;
    let name = json::required_name(name)?;
    let request = rest.request(&caller, CreateSubjectRequest { name, ..Default::default() });
    let reply = rest.channels.subjects().create_subject(request).await?.into_inner();
    let data = SubjectCreated { name: reply.subject.unwrap_or_default().name, token: reply.token };
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

fn without_subject() -> ApiError {
    ApiError::bad_request(r#"expected {"subject": {"name": "..."}}"#)
}
