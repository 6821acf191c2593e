//! The functions that a caller has access to.

use futures::{StreamExt as _, TryStreamExt as _};
use mesh::{Caller, Error, Reason, paging};
use proto::registry::v1::{Function, GetFunctionRequest, ListFunctionsRequest, ListModulesRequest};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Rest;
use super::error::ApiError;

/// The number of concurrent requests for modules to the registry.
const AT_ONCE: usize = 8;

/// The functions to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OfFunctions {
    /// Only functions of this module.
    module: Option<String>,
    /// Only this function. Requires `module`.
    function: Option<String>,
}

/// An item of a function.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OfFunction<T> {
    pub(super) module: String,
    pub(super) function: String,
    #[serde(flatten)]
    pub(super) shown: T,
}

/// Module and name of each function, repeated `times` times.
pub(super) fn names(functions: &[Function], times: impl Fn(&Function) -> usize) -> Vec<(String, String)> {
    let repeated = |function: &Function| {
        std::iter::repeat_n((function.module.clone(), function.name.clone()), times(function))
    };
    functions.iter().flat_map(repeated).collect()
}

/// The functions of the caller that match `of`, ordered by module and name.
pub(super) async fn functions(
    rest: &Rest,
    caller: &Caller,
    of: OfFunctions,
) -> Result<Vec<Function>, ApiError> {
    match (of.module, of.function) {
        (Some(module), Some(name)) => {
            let request = rest.request(caller, GetFunctionRequest { module, name });
            let reply = rest.channels.functions().get_function(request).await?.into_inner();
            Ok(Vec::from_iter(reply.function))
        }
        (Some(module), None) => Ok(functions_of_module(rest, caller, module).await?),
        (None, None) => all_functions(rest, caller).await,
        (None, Some(_)) => Err(function_needs_module()),
    }
}

/// Names of functions are unique only within a module.
pub(super) fn function_needs_module() -> ApiError {
    ApiError::bad_request_because("function: expected a module with it")
}

async fn all_functions(rest: &Rest, caller: &Caller) -> Result<Vec<Function>, ApiError> {
    let request = rest.request(caller, ListModulesRequest {});
    let modules = rest.channels.modules().list_modules(request).await?.into_inner().modules;
    let functions = futures::stream::iter(modules)
        .map(async |module| match functions_of_module(rest, caller, module.name).await {
            // The module has been deleted in the meantime.
            Err(error) if error.reason == Reason::ModuleNotFound => Ok(Vec::new()),
            outcome => outcome,
        })
        .buffered(AT_ONCE);
    Ok(functions.try_concat().await?)
}

async fn functions_of_module(rest: &Rest, caller: &Caller, module: String) -> Result<Vec<Function>, Error> {
    let module = &*module;
    paging::all(|page_token| async move {
        let request = ListFunctionsRequest { module: module.to_owned(), page_token, page_size: 0 };
        let reply =
            rest.channels.functions().list_functions(rest.request(caller, request)).await?.into_inner();
        Ok((reply.functions, reply.next_page_token))
    })
    .await
}
