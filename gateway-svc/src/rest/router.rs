//! The routes and the layers around them. The OpenAPI document is generated from the same declarations.

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use mesh::Host;
use mesh::metrics::show_permits;
use tokio::sync::Semaphore;
use tower::{Layer as _, ServiceBuilder};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::normalize_path::NormalizePathLayer;
use tower_http::request_id::{PropagateRequestIdLayer, SetRequestIdLayer};
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::docs::{self, ApiDoc};
use super::error::ApiError;
use super::linger::linger;
use super::stack::{
    NewRequestId, REQUEST_ID, authenticate, continue_trace, limit_concurrency, observe, panicked,
    require_rate,
};
use super::upload::BESIDE_CODE_BYTES;
use super::{
    Rest, conservation, dead_letters, events, explain, functions, invoke, logs, modules, scripts, simulate,
    sinks, subjects, workers,
};
use crate::Config;
use crate::auth::Authenticator;
use crate::clients::Channels;
use crate::metrics::HttpMetrics;
use crate::revision::LatestRevision;
use crate::subscriptions::Subscriptions;

/// The routes that need a token.
fn api() -> OpenApiRouter<Rest> {
    OpenApiRouter::new()
        .routes(routes!(modules::list_modules, modules::create_module))
        .routes(routes!(
            modules::get_module,
            modules::rename_module,
            modules::delete_module,
            functions::create_function
        ))
        .routes(routes!(
            functions::get_function,
            functions::update_function,
            functions::delete_function,
            invoke::invoke_function
        ))
        .routes(routes!(logs::read_logs))
        .routes(routes!(events::list_events))
        .routes(routes!(sinks::list_sinks))
        .routes(routes!(conservation::get_conservation))
        .routes(routes!(dead_letters::list_dead_letters, dead_letters::purge_dead_letters))
        .routes(routes!(dead_letters::get_dead_letter, dead_letters::purge_dead_letter))
        .routes(routes!(dead_letters::redrive_dead_letter))
        .routes(routes!(dead_letters::redrive_dead_letters))
        .routes(routes!(scripts::list_scripts, scripts::create_script))
        .routes(routes!(scripts::get_script, scripts::delete_script))
        .routes(routes!(scripts::lint_script))
        .routes(routes!(explain::explain_script))
        .routes(routes!(explain::list_decisions))
        .routes(routes!(explain::explain_decision))
        .routes(routes!(workers::list_workers))
        .routes(routes!(simulate::simulate))
        .routes(routes!(subjects::list_subjects, subjects::create_subject))
        .routes(routes!(subjects::delete_subject))
}

/// The routes without a token.
fn open() -> OpenApiRouter<Rest> {
    OpenApiRouter::with_openapi(ApiDoc::openapi())
        .routes(routes!(docs::health))
        // `/v1/` after its trailing slash has been removed.
        .route("/v1", get(docs::health))
}

/// The OpenAPI document of all routes.
pub fn openapi() -> utoipa::openapi::OpenApi {
    docs::complete(open().merge(api()).into_openapi())
}

/// The REST port.
pub fn router(
    config: &Config,
    host: &Host,
    channels: Channels,
    authenticator: Authenticator,
    subscriptions: Subscriptions,
    latest_revision: Arc<LatestRevision>,
) -> axum::Router {
    let rest = Rest::new(config, channels, authenticator, latest_revision, subscriptions);
    let limit = config.server.max_concurrent;
    let permits = Arc::new(Semaphore::new(limit));
    show_permits(&host.metrics, "rest", limit, &permits);
    let max_body_bytes = usize::try_from(config.max_code_bytes).unwrap_or(usize::MAX);
    let max_body_bytes = max_body_bytes.saturating_add(BESIDE_CODE_BYTES);

    // Tokens are verified before a request takes a permit.
    let with_token = ServiceBuilder::new()
        .layer(from_fn_with_state(rest.clone(), authenticate))
        .layer(from_fn_with_state(permits, limit_concurrency))
        .layer(from_fn(linger))
        .layer(from_fn_with_state(rest.clone(), require_rate));
    let api = api().layer(with_token);
    let (routes, document) = open().merge(api).split_for_parts();

    // A request passes the layers from top to bottom, its response from bottom to top.
    let stack = ServiceBuilder::new()
        .layer(SetRequestIdLayer::new(REQUEST_ID, NewRequestId))
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(from_fn(continue_trace))
        .layer(from_fn_with_state(HttpMetrics::new(&host.metrics), observe))
        .layer(CatchPanicLayer::custom(panicked))
        // The limit of an upload as a whole; handlers have lower limits for its parts.
        .layer(DefaultBodyLimit::max(max_body_bytes));

    let routes = routes
        .merge(docs::pages(&docs::complete(document)))
        .fallback(async || ApiError::not_found("no such path; /docs lists all"))
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .layer(stack)
        .with_state(rest);
    // Trailing slashes must be removed before routes are matched.
    let normalized = NormalizePathLayer::trim_trailing_slash().layer(routes);
    axum::Router::new().fallback_service(normalized)
}
