//! Functions: show, create, update, delete.

mod form;
mod reply;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;
use http::StatusCode;
use mesh::Caller;
use mesh::deadline::Deadline;
use proto::registry::v1::{
    BindingList, CreateFunctionRequest, CreateFunctionSpec, DeleteFunctionRequest, Function,
    GetFunctionRequest, UpdateFunctionRequest, UpdateFunctionSpec, create_function_request as create,
    update_function_request as update,
};
use proto::scheduler::v1::{AwaitCodeRequest, CodeFailure};

use super::Rest;
use super::bindings::Bindings;
use super::error::{ApiError, CommonErrors, Failure};
use super::events::show_events;
use super::extract::{Names, User};
use super::revision::Revision;
use super::schema::{Data, FunctionUpload};
use super::sinks::show_sinks;
use super::upload::{Code, Form, unless_unreadable};
use form::FunctionForm;
use reply::{CodeOnWorkers, FunctionView, FunctionWriteResponse};

/// Shows a function with the state of its events and sinks.
#[utoipa::path(get, path = "/v1/fn/{module}/{function}", tag = "functions",
    params(
        ("module" = String, Path, description = "The module's name."),
        ("function" = String, Path, description = "The function's name."),
    ),
    responses(
        (status = 200, description = "The function.", body = Data<FunctionView>),
        (status = 404, description = "No such function.", body = Failure),
        CommonErrors,
    ))]
pub(super) async fn get_function(
    State(rest): State<Rest>,
    User(caller): User,
    Names((module, name)): Names<(String, String)>,
) -> Result<Json<Data<FunctionView>>, ApiError> {
    let request = rest.request(&caller, GetFunctionRequest { module, name });
    let reply = rest.channels.functions().get_function(request).await?.into_inner();
    let mut function = reply.function.unwrap_or_default();
    let (events, sinks) = (std::mem::take(&mut function.events), std::mem::take(&mut function.sinks));
    let (events, sinks) = tokio::join!(show_events(&rest, events), show_sinks(&rest, sinks));
    Ok(Json(Data { data: FunctionView::new(function, events, sinks) }))
}

/// Creates a function.
///
/// Refused events and sinks are not stored; stored ones are retried until they are connected. The function is
/// created in either case.
#[utoipa::path(post, path = "/v1/fn/{module}", tag = "functions",
    params(("module" = String, Path, description = "The module's name.")),
    request_body(content = FunctionUpload, content_type = "multipart/form-data"),
    responses(
        (status = 201, description = "Created.", body = Data<FunctionWriteResponse>),
        (status = 207, description = "Created, but not every event and sink is connected.",
            body = Data<FunctionWriteResponse>),
        (status = 400, description = "A part is missing, or is not the expected JSON.", body = Failure),
        (status = 404, description = "No such module.", body = Failure),
        (status = 408, description = "The upload did not arrive in time.", body = Failure),
        (status = 409, description = "The module has a function of this name.", body = Failure),
        (status = 413, description = "The binary, or another part, is too large.", body = Failure),
        (status = 422, description = "A field is invalid, such as code that is not runnable WebAssembly.",
            body = Failure),
        CommonErrors,
    ))]
pub(super) async fn create_function(
    State(rest): State<Rest>,
    User(caller): User,
    Names(module): Names<String>,
    form: Form,
) -> Result<Response, ApiError> {
    let form = FunctionForm::read(form, rest.max_code_bytes).await?;
    let (Some(name), Some(code)) = (form.name, form.code) else {
        return Err(ApiError::bad_request("expected the parts `name` and `code`"));
    };
    let mut bindings = NewBindings { events: form.events, sinks: form.sinks };
    bindings.check(&rest).await;
    let (metadata, limits) = form.metadata.unwrap_or_default();
    let spec = CreateFunctionSpec {
        module,
        name,
        metadata: Some(metadata),
        limits,
        events: bindings.accepted(bindings.events.as_ref()),
        sinks: bindings.accepted(bindings.sinks.as_ref()),
    };

    let (chunks, failure) = code.into_chunks().await?;
    let spec = futures::stream::iter([CreateFunctionRequest { part: Some(create::Part::Spec(spec)) }]);
    let chunks = chunks.map(|chunk| CreateFunctionRequest { part: Some(create::Part::Chunk(chunk)) });
    let request = rest.request(&caller, spec.chain(chunks));
    let mut functions = rest.channels.functions();
    let reply = unless_unreadable(functions.create_function(request), failure).await?.into_inner();

    let revision = rest.latest_revision.wrote(reply.revision);
    let function = reply.function.unwrap_or_default();
    let written = settle(&rest, function, form.wait_for_workers, bindings).await;
    Ok(respond(StatusCode::CREATED, revision, written))
}

/// Updates a function: its name, code, metadata, events or sinks.
///
/// Absent parts do not change. Events or sinks in the upload replace the old ones.
#[utoipa::path(put, path = "/v1/fn/{module}/{function}", tag = "functions",
    params(
        ("module" = String, Path, description = "The module's name."),
        ("function" = String, Path, description = "The function's name."),
    ),
    request_body(content = FunctionUpload, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "Updated.", body = Data<FunctionWriteResponse>),
        (status = 207, description = "Updated, but not every event and sink is connected.",
            body = Data<FunctionWriteResponse>),
        (status = 400, description = "The body is not an upload, or a part is not the expected JSON.",
            body = Failure),
        (status = 404, description = "No such function.", body = Failure),
        (status = 408, description = "The upload did not arrive in time.", body = Failure),
        (status = 409, description = "The module has a function of the new name.", body = Failure),
        (status = 413, description = "The binary, or another part, is too large.", body = Failure),
        (status = 422, description = "A field is invalid, such as code that is not runnable WebAssembly.",
            body = Failure),
        CommonErrors,
    ))]
pub(super) async fn update_function(
    State(rest): State<Rest>,
    User(caller): User,
    Names((module, name)): Names<(String, String)>,
    form: Form,
) -> Result<Response, ApiError> {
    let form = FunctionForm::read(form, rest.max_code_bytes).await?;
    let mut bindings = NewBindings { events: form.events, sinks: form.sinks };
    bindings.check(&rest).await;
    let (metadata, limits) = form.metadata.unzip();
    let list = |given: &Bindings| given.replacement().map(|bindings| BindingList { bindings });
    let spec = UpdateFunctionSpec {
        module,
        name,
        new_name: form.name,
        metadata,
        limits: limits.flatten(),
        events: bindings.events.as_ref().and_then(list),
        sinks: bindings.sinks.as_ref().and_then(list),
    };
    let wait_for_workers = form.wait_for_workers && form.code.is_some();

    let reply = send_update(&rest, &caller, spec, form.code).await?;
    let revision = rest.latest_revision.wrote(reply.revision);
    let function = reply.function.unwrap_or_default();
    let written = settle(&rest, function, wait_for_workers, bindings).await;
    Ok(respond(StatusCode::OK, revision, written))
}

async fn send_update(
    rest: &Rest,
    caller: &Caller,
    spec: UpdateFunctionSpec,
    code: Option<Code>,
) -> Result<proto::registry::v1::UpdateFunctionResponse, ApiError> {
    let mut functions = rest.channels.functions();
    let spec = futures::stream::iter([UpdateFunctionRequest { part: Some(update::Part::Spec(spec)) }]);
    let Some(code) = code else {
        return Ok(functions.update_function(rest.request(caller, spec)).await?.into_inner());
    };
    let (chunks, failure) = code.into_chunks().await?;
    let chunks = chunks.map(|chunk| UpdateFunctionRequest { part: Some(update::Part::Chunk(chunk)) });
    let request = rest.request(caller, spec.chain(chunks));
    Ok(unless_unreadable(functions.update_function(request), failure).await?.into_inner())
}

/// Deletes a function.
#[utoipa::path(delete, path = "/v1/fn/{module}/{function}", tag = "functions",
    params(
        ("module" = String, Path, description = "The module's name."),
        ("function" = String, Path, description = "The function's name."),
    ),
    responses(
        (status = 204, description = "Deleted."),
        (status = 404, description = "No such function.", body = Failure),
        CommonErrors,
    ))]
pub(super) async fn delete_function(
    State(rest): State<Rest>,
    User(caller): User,
    Names((module, name)): Names<(String, String)>,
) -> Result<(Revision, StatusCode), ApiError> {
    let request = rest.request(&caller, DeleteFunctionRequest { module, name });
    let reply = rest.channels.functions().delete_function(request).await?.into_inner();
    Ok((rest.latest_revision.wrote(reply.revision), StatusCode::NO_CONTENT))
}

/// The events and sinks of an upload; `None` if it has no such part.
struct NewBindings {
    events: Option<Bindings>,
    sinks: Option<Bindings>,
}

impl NewBindings {
    async fn check(&mut self, rest: &Rest) {
        let check = async |bindings: &mut Option<Bindings>| {
            if let Some(bindings) = bindings {
                bindings.check(rest).await;
            }
        };
        tokio::join!(check(&mut self.events), check(&mut self.sinks));
    }

    fn accepted(&self, of: Option<&Bindings>) -> Vec<proto::registry::v1::Binding> {
        of.map(Bindings::accepted).unwrap_or_default()
    }
}

/// Waits until the workers have the code and the bindings have been tried, and returns the outcome. The
/// function has been stored, so nothing that fails here makes the request fail.
async fn settle(
    rest: &Rest,
    function: Function,
    wait_for_workers: bool,
    bindings: NewBindings,
) -> FunctionWriteResponse {
    let on_workers = async {
        match wait_for_workers {
            true => Some(await_code(rest, &function).await),
            false => None,
        }
    };
    let outcomes = async |bindings: Option<Bindings>, stored| match bindings {
        Some(bindings) => bindings.outcomes(rest, stored).await,
        None => Vec::new(),
    };
    let (events, sinks, workers) = tokio::join!(
        outcomes(bindings.events, &function.events),
        outcomes(bindings.sinks, &function.sinks),
        on_workers,
    );
    FunctionWriteResponse::new(function.name, events, sinks, workers)
}

async fn await_code(rest: &Rest, function: &Function) -> CodeOnWorkers {
    let hash = function.code.as_ref().map(|code| code.hash.clone()).unwrap_or_default();
    let deadline = Deadline::after(rest.wait_for_workers_timeout);
    let request = deadline.attach(AwaitCodeRequest { hash, min_revision: function.revision });
    let (module, function) = (&function.module, &function.name);
    match rest.channels.cluster().await_code(request).await {
        Ok(reply) => {
            let reply = reply.into_inner();
            for CodeFailure { worker, message } in &reply.failed {
                tracing::warn!(%module, %function, %worker, %message, "a worker does not have the code");
            }
            reply.into()
        }
        Err(error) => {
            tracing::warn!(%module, %function, %error, "it is unknown whether the workers have the code");
            CodeOnWorkers::unknown("the scheduler did not say whether the workers have the code")
        }
    }
}

fn respond(success: StatusCode, revision: Revision, written: FunctionWriteResponse) -> Response {
    let status = if written.any_failed() { StatusCode::MULTI_STATUS } else { success };
    (status, revision, Json(Data { data: written })).into_response()
}
