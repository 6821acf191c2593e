//! Pages for everyone: health, the OpenAPI document, and a viewer in which requests can be tried.

mod errors;
mod examples;
mod viewer;

use axum::routing::get;
use axum::{Json, Router};
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi as DeriveOpenApi};

use super::Rest;

/// What the document says beside the routes.
#[derive(DeriveOpenApi)]
#[openapi(
    info(
        title = "FunLess Mesh",
        description = "Functions compiled to WebAssembly, invoked with JSON. Errors are \
            `{\"errors\":{\"detail\":\"...\"}}`, and `{\"errors\":{\"FIELD\":[\"message\", ...]}}` for refused \
            fields. `X-Request-Id` is echoed, or made. Replies to writes carry `X-FunLess-Revision`.\n\n\
            All but `/v1/` takes a bearer token; `fl up` writes tokens to `.funless/config`. The curl lines take \
            them from `$TOKEN` and `$ADMIN_TOKEN`.",
    ),
    modifiers(&BearerToken),
    security(("token" = [])),
    tags(
        (name = "health", description = "For everyone, without a token."),
        (name = "modules", description = "Groups of functions. The module `_` is always there."),
        (name = "functions", description = "Functions, and running them."),
        (name = "events and sinks", description = "What triggers functions, and what receives their results."),
        (name = "dead letters", description = "What could not be done, and is kept until somebody decides."),
        (name = "scripts", description = "APP scripts: where functions may run."),
        (name = "scheduling", description = "Where functions run, and why."),
        (name = "subjects", description = "Who may use the mesh. Takes an administrator's token."),
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

/// Tells that the platform is there.
#[utoipa::path(get, path = "/v1/", tag = "health", security(()),
    responses((status = 200, description = "Up and running.", body = String)))]
pub(super) async fn health() -> &'static str {
    "FunLess Mesh is up and running.\n"
}

/// Adds what is the same for all operations: examples, curl lines, and the errors that they share.
pub(super) fn complete(mut document: OpenApi) -> OpenApi {
    for (_, operation) in document.paths.paths.values_mut().flat_map(examples::operations) {
        // Unlike descriptions, summaries are not Markdown: viewers would show the backticks.
        operation.summary = operation.summary.take().map(|summary| summary.replace('`', ""));
    }
    examples::add(&mut document);
    errors::share(&mut document);
    document
}

/// The pages for those who read the documentation.
pub(super) fn pages(document: &OpenApi) -> Router<Rest> {
    let document = serde_json::to_value(document).unwrap_or_default();
    viewer::routes().route("/v1/openapi.json", get(async move || Json(document)))
}
