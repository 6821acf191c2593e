//! Modules.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use proto::registry::v1::{
    CreateModuleRequest, DeleteModuleRequest, GetModuleRequest, ListModulesRequest, RenameModuleRequest,
};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::Rest;
use super::error::{ApiError, CommonErrors, Failure};
use super::extract::{JsonBody, Names, User};
use super::json;
use super::revision::Revision;
use super::schema::{Data, ModuleBody, Name, RenameModuleBody};

/// A module and its functions.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModuleWithFunctions {
    name: String,
    /// Ordered by name.
    functions: Vec<Name>,
}

/// Lists the modules that the caller has access to, ordered by name, `_` first.
#[utoipa::path(get, path = "/v1/fn", tag = "modules",
    responses((status = 200, description = "The modules.", body = Data<Vec<Name>>), CommonErrors))]
pub(super) async fn list_modules(
    State(rest): State<Rest>,
    User(caller): User,
) -> Result<Json<Data<Vec<Name>>>, ApiError> {
    let request = rest.request(&caller, ListModulesRequest {});
    let modules = rest.channels.modules().list_modules(request).await?.into_inner().modules;
    Ok(Json(Data { data: modules.into_iter().map(|module| Name { name: module.name }).collect() }))
}

/// Creates an empty module.
#[utoipa::path(post, path = "/v1/fn", tag = "modules", request_body = ModuleBody,
    responses(
        (status = 201, description = "Created.", body = Data<Name>),
        (status = 400, description = "The body is not a JSON object with a `module`.", body = Failure),
        (status = 408, description = "The body did not arrive in time.", body = Failure),
        (status = 413, description = "The body is too large.", body = Failure),
        (status = 415, description = "The body is not JSON.", body = Failure),
        (status = 422, description = "The name is invalid or taken.", body = Failure),
        CommonErrors,
    ))]
pub(super) async fn create_module(
    State(rest): State<Rest>,
    User(caller): User,
    body: JsonBody,
) -> Result<(StatusCode, Revision, Json<Data<Name>>), ApiError> {
    let name = json::required_name(name_in(&body)?)?;
    let request = rest.request(&caller, CreateModuleRequest { name });
    let reply = rest.channels.modules().create_module(request).await?.into_inner();
    let revision = rest.latest_revision.wrote(reply.revision);
    let name = reply.module.unwrap_or_default().name;
    Ok((StatusCode::CREATED, revision, Json(Data { data: Name { name } })))
}

/// Shows a module and the names of its functions.
#[utoipa::path(get, path = "/v1/fn/{module}", tag = "modules",
    params(("module" = String, Path, description = "The module's name.")),
    responses(
        (status = 200, description = "The module.", body = Data<ModuleWithFunctions>),
        (status = 404, description = "No such module.", body = Failure),
        CommonErrors,
    ))]
pub(super) async fn get_module(
    State(rest): State<Rest>,
    User(caller): User,
    Names(name): Names<String>,
) -> Result<Json<Data<ModuleWithFunctions>>, ApiError> {
    let request = rest.request(&caller, GetModuleRequest { name });
    let reply = rest.channels.modules().get_module(request).await?.into_inner();
    let functions = reply.functions.into_iter().map(|name| Name { name }).collect();
    let name = reply.module.unwrap_or_default().name;
    Ok(Json(Data { data: ModuleWithFunctions { name, functions } }))
}

/// Renames a module. Without a new name, nothing changes.
#[utoipa::path(put, path = "/v1/fn/{module}", tag = "modules", request_body = RenameModuleBody,
    params(("module" = String, Path, description = "The module's name.")),
    responses(
        (status = 200, description = "Renamed, or unchanged.", body = Data<Name>),
        (status = 400, description = "The body is not a JSON object with a `module`, or the module is `_`.",
            body = Failure),
        (status = 404, description = "No such module.", body = Failure),
        (status = 408, description = "The body did not arrive in time.", body = Failure),
        (status = 413, description = "The body is too large.", body = Failure),
        (status = 415, description = "The body is not JSON.", body = Failure),
        (status = 422, description = "The name is invalid or taken.", body = Failure),
        CommonErrors,
    ))]
pub(super) async fn rename_module(
    State(rest): State<Rest>,
    User(caller): User,
    Names(name): Names<String>,
    body: JsonBody,
) -> Result<(Option<Revision>, Json<Data<Name>>), ApiError> {
    let mut modules = rest.channels.modules();
    let Some(new_name) = json::name(name_in(&body)?)? else {
        let unchanged = modules.get_module(rest.request(&caller, GetModuleRequest { name })).await?;
        let name = unchanged.into_inner().module.unwrap_or_default().name;
        return Ok((None, Json(Data { data: Name { name } })));
    };
    let request = rest.request(&caller, RenameModuleRequest { name, new_name });
    let reply = modules.rename_module(request).await?.into_inner();
    let revision = rest.latest_revision.wrote(reply.revision);
    let name = reply.module.unwrap_or_default().name;
    Ok((Some(revision), Json(Data { data: Name { name } })))
}

/// Deletes a module with all its functions.
#[utoipa::path(delete, path = "/v1/fn/{module}", tag = "modules",
    params(("module" = String, Path, description = "The module's name.")),
    responses(
        (status = 204, description = "Deleted."),
        (status = 400, description = "The module is `_`.", body = Failure),
        (status = 404, description = "No such module.", body = Failure),
        CommonErrors,
    ))]
pub(super) async fn delete_module(
    State(rest): State<Rest>,
    User(caller): User,
    Names(name): Names<String>,
) -> Result<(Revision, StatusCode), ApiError> {
    let request = rest.request(&caller, DeleteModuleRequest { name });
    let reply = rest.channels.modules().delete_module(request).await?.into_inner();
    Ok((rest.latest_revision.wrote(reply.revision), StatusCode::NO_CONTENT))
}

/// The member `name` of the member `module`, which must be an object.
fn name_in(body: &JsonBody) -> Result<Option<&RawValue>, ApiError> {
    let [module] = body.members(["module"])?;
    let module = module.ok_or_else(without_module)?;
    let [name] = json::members(module.get(), ["name"]).map_err(|_| without_module())?;
    Ok(name)
}

fn without_module() -> ApiError {
    ApiError::bad_request(r#"expected {"module": {"name": "..."}}"#)
}
