//! The console: the mesh in a browser.
//!
//! Pages are HTML that the gateway renders; what moves arrives as server-sent events. A page reads and changes the mesh
//! only through the REST API in this process (`api`), with the token in the browser's session (`session`).

mod api;
mod assets;
mod bindings;
mod chart;
mod dead_letters;
mod explanation;
mod failure;
mod function;
mod functions;
mod invocation;
mod layout;
mod live;
mod logs;
mod map;
mod model;
mod overview;
mod page;
mod parts;
mod playground;
mod problems;
mod scripts;
mod session;
mod sign_in;
mod simulator;
mod snapshot;
mod subjects;
mod upload;
mod visitor;
mod waterfall;
mod workers;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, LOCATION, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, HeaderValue, StatusCode};
use tower_http::catch_panic::CatchPanicLayer;

use crate::Config;
use crate::auth::Authenticator;
use crate::body_rate::{RatedBody, TooSlow};
use crate::subscriptions::Subscriptions;
use failure::Failure;
use session::Sealer;
use sign_in::Links;

/// What escaping makes of a form, at most, and what else is in it.
const FORM_FACTOR: usize = 3;
const BESIDE_ARGS_BYTES: usize = 64 << 10;

/// The shared state of the pages. Cheap to clone.
#[derive(Clone)]
struct Console {
    rest: axum::Router,
    authenticator: Authenticator,
    subscriptions: Subscriptions,
    sealer: Sealer,
    links: Links,
    max_form_bytes: usize,
    min_body_bytes_per_s: u32,
    trace_url: Option<Arc<str>>,
}

/// The pages at `/console`, as a client of the REST API `rest`.
pub(crate) fn router(
    config: &Config,
    rest: axum::Router,
    authenticator: Authenticator,
    subscriptions: Subscriptions,
) -> Result<axum::Router, String> {
    let key = config.console.key_bytes().transpose()?;
    let console = Console {
        rest,
        authenticator,
        subscriptions,
        sealer: Sealer::new(key.unwrap_or_else(Sealer::random_key)),
        links: Links::default(),
        max_form_bytes: config.max_args_bytes.saturating_mul(FORM_FACTOR).saturating_add(BESIDE_ARGS_BYTES),
        min_body_bytes_per_s: config.min_body_bytes_per_s,
        trace_url: config.console.trace_url.as_deref().map(Arc::from),
    };
    let routes = axum::Router::new()
        .route("/console", get(overview::show))
        .route("/console/live/overview", get(overview::follow))
        .route("/console/sign-in", get(sign_in::show).post(sign_in::sign_in))
        .route("/console/sign-in/{code}", get(sign_in::follow_link))
        .route("/console/signed-in", get(sign_in::check))
        .route("/console/links", post(sign_in::create_link))
        .route("/console/sign-out", post(sign_in::sign_out))
        .route("/console/assets/{hash}/{*name}", get(assets::serve))
        .merge(of_functions())
        .merge(of_letters_and_scripts())
        .route("/console/invocations", get(invocation::list))
        .route("/console/invocations/{id}", get(invocation::show))
        .route("/console/decisions/{id}", get(explanation::show))
        .route("/console/bindings", get(bindings::show))
        .route("/console/live/bindings", get(bindings::follow))
        .route("/console/workers", get(workers::show))
        .route("/console/live/workers", get(workers::follow))
        .route("/console/subjects", get(subjects::list).post(subjects::create))
        .route("/console/subjects/{subject}/delete", get(subjects::confirm).post(subjects::delete))
        .route("/console/{*path}", get(async || Failure::not_found("the console has no such page")))
        .layer(from_fn_with_state(console.clone(), require_rate))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn(secure))
        .with_state(console);
    Ok(routes)
}

fn of_functions() -> axum::Router<Console> {
    axum::Router::new()
        .route("/console/modules", post(upload::create_module))
        .route("/console/modules/{module}/new", get(upload::new))
        // An upload may be as large as in the REST API, which limits it.
        .route("/console/modules/{module}/functions", post(upload::create))
        .route("/console/functions", get(functions::list))
        .route("/console/functions/{module}/{function}", get(function::show))
        .route("/console/functions/{module}/{function}/invoke", post(function::invoke))
        .route("/console/functions/{module}/{function}/logs", get(logs::follow))
        .route("/console/functions/{module}/{function}/code", post(upload::update))
        .route("/console/functions/{module}/{function}/delete", post(function::delete))
}

fn of_letters_and_scripts() -> axum::Router<Console> {
    axum::Router::new()
        .route("/console/dead-letters", get(dead_letters::list))
        .route("/console/dead-letters/redrive", post(dead_letters::redrive_all))
        .route("/console/dead-letters/purge", post(dead_letters::purge_all))
        .route("/console/dead-letters/{id}", get(dead_letters::show))
        .route("/console/dead-letters/{id}/redrive", post(dead_letters::redrive))
        .route("/console/dead-letters/{id}/purge", post(dead_letters::purge))
        .route("/console/scripts", get(scripts::list).post(scripts::create))
        .route("/console/scripts/new", get(scripts::new))
        .route("/console/scripts/check", post(scripts::check))
        .route("/console/scripts/{script}", get(scripts::show))
        .route("/console/scripts/{script}/delete", post(scripts::delete))
        .route("/console/simulator", get(simulator::show).post(simulator::run))
}

/// Requires a minimum rate of the request's body.
async fn require_rate(State(console): State<Console>, request: Request, next: Next) -> Response {
    let min_rate = console.min_body_bytes_per_s;
    next.run(request.map(|body| RatedBody::wrap(body, min_rate, &TooSlow::default()))).await
}

/// Adds the headers that restrict what a page may do.
async fn secure(request: Request, next: Next) -> Response {
    let is_htmx = request.headers().contains_key("hx-request");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, layout::POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    // htmx follows redirects within the page; this makes the browser go there.
    if is_htmx
        && response.status().is_redirection()
        && let Some(place) = response.headers_mut().remove(LOCATION)
    {
        response.headers_mut().insert("hx-redirect", place);
        *response.status_mut() = StatusCode::OK;
    }
    response
}

fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    Failure::internal(format!("a page panicked: {words}")).into_response()
}
