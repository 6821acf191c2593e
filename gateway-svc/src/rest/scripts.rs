//! APP scripts.

mod view;

use axum::Json;
use axum::extract::State;
use futures::{StreamExt as _, stream};
use http::StatusCode;
use mesh::deadline::Deadline;
use mesh::{Caller, Error, paging};
use proto::registry::v1::{DeleteScriptRequest, GetScriptRequest, ListScriptsRequest, Script};
use proto::scheduler::v1::AppScript;

use super::Rest;
use super::error::{ApiError, CommonErrors, Failure};
use super::extract::{JsonBody, Names, Query, User};
use super::revision::Revision;
use super::schema::{Data, DeleteScriptQuery, LintBody, ScriptUpload};
use super::upload::Form;
use crate::scripts::{self, Created, NotCreated};
use view::{Findings, ScriptCreated, ScriptView};

/// The number of scripts of a list that the scheduler parses concurrently.
const AT_ONCE: usize = 8;

impl From<NotCreated> for ApiError {
    fn from(refused: NotCreated) -> Self {
        match refused {
            NotCreated::Failed(error) => error.into(),
            NotCreated::NoScript(problems) => {
                Self::fields(problems.into_iter().map(|problem| ("file".to_owned(), problem.message)))
            }
        }
    }
}

/// Lists the scripts, ordered by name.
#[utoipa::path(get, path = "/v1/scripts/app", tag = "scripts",
    responses((status = 200, description = "The scripts.", body = Data<Vec<ScriptView>>), CommonErrors))]
pub(super) async fn list_scripts(
    State(rest): State<Rest>,
    User(caller): User,
) -> Result<Json<Data<Vec<ScriptView>>>, ApiError> {
    let scripts = all_scripts(&rest, &caller).await?;
    let deadline = Deadline::after(rest.status_timeout);
    let shown = stream::iter(scripts).map(|script| show(&rest, &caller, deadline, script));
    Ok(Json(Data { data: shown.buffered(AT_ONCE).collect().await }))
}

async fn all_scripts(rest: &Rest, caller: &Caller) -> Result<Vec<Script>, Error> {
    paging::all(|page_token| async move {
        let request = ListScriptsRequest { page_token, ..ListScriptsRequest::default() };
        let reply = rest.channels.scripts().list_scripts(rest.request(caller, request)).await?.into_inner();
        Ok((reply.scripts, reply.next_page_token))
    })
    .await
}

/// Stores a script, if the file is a valid one. It belongs to the caller.
///
/// Each problem of an invalid file is a separate message with its position.
#[utoipa::path(post, path = "/v1/scripts/app", tag = "scripts",
    request_body(content = ScriptUpload, content_type = "multipart/form-data"),
    responses(
        (status = 201, description = "Stored.", body = Data<ScriptCreated>),
        (status = 400, description = "A part is missing.", body = Failure),
        (status = 408, description = "The body did not arrive in time.", body = Failure),
        (status = 413, description = "A part is too large.", body = Failure),
        (status = 422, description = "The name is invalid or taken, or the file is not a script.",
            body = Failure),
        CommonErrors,
    ))]
pub(super) async fn create_script(
    State(rest): State<Rest>,
    User(caller): User,
    mut form: Form,
) -> Result<(StatusCode, Revision, Json<Data<ScriptCreated>>), ApiError> {
    let (mut name, mut file) = (None, None);
    while let Some((part_name, part)) = form.next().await? {
        match part_name.as_str() {
            "name" => name = Some(part.text().await?),
            "file" => file = Some(part.bytes().await?),
            _ => part.skip().await?,
        }
    }
    let (Some(name), Some(file)) = (name, file) else {
        return Err(ApiError::bad_request("expected the parts `name` and `file`"));
    };
    let content = String::from_utf8(file).map_err(|_| ApiError::field("file", "is not UTF-8 text"))?;

    let deadline = Deadline::after(rest.request_timeout);
    let script = Script { name, content, ..Script::default() };
    let Created { reply, check } = scripts::create_script(&rest.channels, &caller, deadline, script).await?;
    let revision = rest.latest_revision.wrote(reply.revision);
    let data = ScriptCreated::new(reply.script.unwrap_or_default(), check);
    Ok((StatusCode::CREATED, revision, Json(Data { data })))
}

/// Shows a script.
#[utoipa::path(get, path = "/v1/scripts/app/{script}", tag = "scripts",
    params(("script" = String, Path, description = "The script's name.")),
    responses(
        (status = 200, description = "The script.", body = Data<ScriptView>),
        (status = 404, description = "No such script.", body = Failure),
        CommonErrors,
    ))]
pub(super) async fn get_script(
    State(rest): State<Rest>,
    User(caller): User,
    Names(name): Names<String>,
) -> Result<Json<Data<ScriptView>>, ApiError> {
    let request = rest.request(&caller, GetScriptRequest { name });
    let reply = rest.channels.scripts().get_script(request).await?.into_inner();
    let deadline = Deadline::after(rest.status_timeout);
    let data = show(&rest, &caller, deadline, reply.script.unwrap_or_default()).await;
    Ok(Json(Data { data }))
}

/// Deletes a script. Refused if functions use it, unless `force=true`.
///
/// Only its owner and administrators may delete it. While functions use the name of a deleted script, only they may
/// create a script with this name.
#[utoipa::path(delete, path = "/v1/scripts/app/{script}", tag = "scripts",
    params(("script" = String, Path, description = "The script's name."), DeleteScriptQuery),
    responses(
        (status = 204, description = "Deleted."),
        (status = 400, description = "`force` is neither true nor false, or a parameter is unknown.",
            body = Failure),
        (status = 403, description = "It belongs to another subject.", body = Failure),
        (status = 404, description = "No such script.", body = Failure),
        (status = 409, description = "Functions use it; `errors.message` names them.", body = Failure),
        CommonErrors,
    ))]
pub(super) async fn delete_script(
    State(rest): State<Rest>,
    User(caller): User,
    Names(name): Names<String>,
    Query(query): Query<DeleteScriptQuery>,
) -> Result<(Revision, StatusCode), ApiError> {
    let request = rest.request(&caller, DeleteScriptRequest { name, force: query.force });
    let reply = rest.channels.scripts().delete_script(request).await?.into_inner();
    Ok((rest.latest_revision.wrote(reply.revision), StatusCode::NO_CONTENT))
}

/// Checks a script without storing it.
///
/// Errors make a script invalid. Warnings depend on the current workers.
#[utoipa::path(post, path = "/v1/app/lint", tag = "scripts", request_body = LintBody,
    responses(
        (status = 200, description = "The errors and warnings. Both may be empty.", body = Data<Findings>),
        (status = 400, description = "The body is not a JSON object with the text as its `content`.",
            body = Failure),
        (status = 408, description = "The body did not arrive in time.", body = Failure),
        (status = 413, description = "The body is too large.", body = Failure),
        (status = 415, description = "The body is not JSON.", body = Failure),
        CommonErrors,
    ))]
pub(super) async fn lint_script(
    State(rest): State<Rest>,
    User(caller): User,
    body: JsonBody,
) -> Result<Json<Data<Findings>>, ApiError> {
    let LintBody { content } = body.read()?;
    let deadline = Deadline::after(rest.request_timeout);
    let check = scripts::check_script(&rest.channels, &caller, deadline, content).await?;
    Ok(Json(Data { data: Findings::from(check) }))
}

/// A script with its parsed content, if the scheduler can parse it in time.
async fn show(rest: &Rest, caller: &Caller, deadline: Deadline, script: Script) -> ScriptView {
    let read = read(rest, caller, deadline, script.content.clone()).await;
    ScriptView::new(script, read)
}

async fn read(rest: &Rest, caller: &Caller, deadline: Deadline, content: String) -> Option<AppScript> {
    match scripts::check_script(&rest.channels, caller, deadline, content).await {
        Ok(check) => check.script,
        Err(status) => {
            // An unavailable scheduler is logged elsewhere, and not for each script of a list.
            tracing::debug!(%status, "the scheduler did not parse a script");
            None
        }
    }
}
