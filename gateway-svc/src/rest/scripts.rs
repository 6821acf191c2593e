//! APP scripts.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use proto::registry::v1::{
    CreateScriptRequest, DeleteScriptRequest, GetScriptRequest, ListScriptsRequest, Script,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::Rest;
use super::error::{ApiError, Failure, Usual};
use super::extract::{Names, User};
use super::revision::Revision;
use super::schema::{Data, ScriptUpload};
use super::upload::Form;

/// A script.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ScriptShown {
    name: String,
    /// The text as it was uploaded.
    content: String,
    script: ScriptContent,
}

/// What the script says.
#[derive(Debug, Serialize, ToSchema)]
struct ScriptContent {
    content: String,
}

impl From<Script> for ScriptShown {
    fn from(Script { name, content }: Script) -> Self {
        Self { name, content: content.clone(), script: ScriptContent { content } }
    }
}

/// Lists the scripts, ordered by name.
#[utoipa::path(get, path = "/v1/scripts/app", tag = "scripts",
    responses((status = 200, description = "The scripts.", body = Data<Vec<ScriptShown>>), Usual))]
pub(super) async fn list_scripts(
    State(rest): State<Rest>,
    User(caller): User,
) -> Result<Json<Data<Vec<ScriptShown>>>, ApiError> {
    let request = rest.request(&caller, ListScriptsRequest {});
    let scripts = rest.channels.scripts().list_scripts(request).await?.into_inner().scripts;
    Ok(Json(Data { data: scripts.into_iter().map(ScriptShown::from).collect() }))
}

/// Stores a script.
#[utoipa::path(post, path = "/v1/scripts/app", tag = "scripts",
    request_body(content = ScriptUpload, content_type = "multipart/form-data"),
    responses(
        (status = 201, description = "Stored.", body = Data<ScriptShown>),
        (status = 400, description = "A part is missing.", body = Failure),
        (status = 408, description = "The body did not arrive in time.", body = Failure),
        (status = 413, description = "A part is too large.", body = Failure),
        (status = 422, description = "The name is refused or taken, or the file is no script.", body = Failure),
        Usual,
    ))]
pub(super) async fn create_script(
    State(rest): State<Rest>,
    User(caller): User,
    mut form: Form,
) -> Result<(StatusCode, Revision, Json<Data<ScriptShown>>), ApiError> {
    let (mut name, mut file) = (None, None);
    while let Some((part_name, part)) = form.next().await? {
        match part_name.as_str() {
            "name" => name = Some(part.text().await?),
            "file" => file = Some(part.bytes().await?),
            _ => {}
        }
    }
    let (Some(name), Some(file)) = (name, file) else { return Err(ApiError::bad_request()) };
    let content = String::from_utf8(file).map_err(|_| ApiError::field("file", "is not UTF-8 text"))?;

    let script = Some(Script { name, content });
    let request = rest.request(&caller, CreateScriptRequest { script });
    let reply = rest.channels.scripts().create_script(request).await?.into_inner();
    let revision = rest.latest_revision.wrote(reply.revision);
    let data = ScriptShown::from(reply.script.unwrap_or_default());
    Ok((StatusCode::CREATED, revision, Json(Data { data })))
}

/// Shows a script.
#[utoipa::path(get, path = "/v1/scripts/app/{script}", tag = "scripts",
    params(("script" = String, Path, description = "The script's name.")),
    responses(
        (status = 200, description = "The script.", body = Data<ScriptShown>),
        (status = 404, description = "There is no such script.", body = Failure),
        Usual,
    ))]
pub(super) async fn get_script(
    State(rest): State<Rest>,
    User(caller): User,
    Names(name): Names<String>,
) -> Result<Json<Data<ScriptShown>>, ApiError> {
    let request = rest.request(&caller, GetScriptRequest { name });
    let reply = rest.channels.scripts().get_script(request).await?.into_inner();
    Ok(Json(Data { data: ScriptShown::from(reply.script.unwrap_or_default()) }))
}

/// Deletes a script.
#[utoipa::path(delete, path = "/v1/scripts/app/{script}", tag = "scripts",
    params(("script" = String, Path, description = "The script's name.")),
    responses(
        (status = 204, description = "Deleted."),
        (status = 404, description = "There is no such script.", body = Failure),
        Usual,
    ))]
pub(super) async fn delete_script(
    State(rest): State<Rest>,
    User(caller): User,
    Names(name): Names<String>,
) -> Result<(Revision, StatusCode), ApiError> {
    let request = rest.request(&caller, DeleteScriptRequest { name });
    let reply = rest.channels.scripts().delete_script(request).await?.into_inner();
    Ok((rest.latest_revision.wrote(reply.revision), StatusCode::NO_CONTENT))
}
