//! Pages without a token: health, the OpenAPI document, and a viewer that can send requests.

mod errors;
mod examples;
mod viewer;

use axum::routing::get;
use axum::{Json, Router};
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi as DeriveOpenApi};

use super::Rest;

/// The parts of the document other than the routes.
#[derive(DeriveOpenApi)]
#[openapi(
    info(
        title = "FunLess Mesh",
        description = "Functions compiled to WebAssembly, invoked with JSON. Errors are \
            `{\"errors\":{\"detail\":\"...\"}}`, and `{\"errors\":{\"FIELD\":[\"message\", ...]}}` for refused \
            fields. `X-Request-Id` is returned, or generated. Responses to writes have `X-FunLess-Revision`.\n\n\
            All paths except `/v1/` require a bearer token; `fl up` writes tokens to `.funless/config`. The curl \
            lines take them from `$TOKEN` and `$ADMIN_TOKEN`.",
    ),
    modifiers(&BearerToken),
    security(("token" = [])),
    tags(
        (name = "health", description = "Needs no token."),
        (name = "modules", description = "Namespaces of functions. The module `_` always exists."),
        (name = "functions", description = "Functions and their invocation."),
        (name = "events and sinks",
            description = "Event sources, which trigger functions, and sinks, which receive their results."),
        (name = "dead letters", description = "Failed events and results, kept until they are redriven or purged."),
        (name = "scripts", description = "APP scripts, which define where functions may run."),
        (name = "scheduling", description = "Where functions run, and why."),
        (name = "subjects", description = "Users of the mesh. Requires an administrator's token."),
    ),
)]
pub(super) struct ApiDoc;

struct BearerToken;

impl Modify for BearerToken {
    fn modify(&self, document: &mut OpenApi) {
        let components = document.components.get_or_insert_default();
        let mut scheme = Http::new(HttpAuthScheme::Bearer);
        scheme.description = Some("A subject's token, or an administrator's.".into());
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// Reports that the gateway is running.
#[utoipa::path(get, path = "/v1/", tag = "health", security(()),
    responses((status = 200, description = "Up and running.", body = String)))]
pub(super) async fn health() -> &'static str {
    "FunLess Mesh is up and running.\n"
}

/// Adds the common parts of all operations: examples, curl lines and shared errors.
pub(super) fn complete(mut document: OpenApi) -> OpenApi {
    for (_, operation) in document.paths.paths.values_mut().flat_map(examples::operations) {
        // Unlike descriptions, summaries are not Markdown: viewers would show the backticks.
        operation.summary = operation.summary.take().map(|summary| summary.replace('`', ""));
    }
    examples::add(&mut document);
    errors::share(&mut document);
    document
}

/// The routes of the documentation.
pub(super) fn pages(document: &OpenApi) -> Router<Rest> {
    let document = serde_json::to_value(document).unwrap_or_default();
    viewer::routes().route("/v1/openapi.json", get(async move || Json(document)))
}
