//! The admin port: `/metrics`, `/livez` and `/readyz` for load balancers and supervisors, and `/log`, which
//! returns (GET) or changes (PUT) the log levels.

use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;

use crate::health::Readiness;
use crate::metrics;
use crate::telemetry::LogControl;

/// The admin endpoints of services that share a process.
pub fn router(
    registries: Vec<prometheus::Registry>,
    services: Vec<(&'static str, Readiness)>,
    log: LogControl,
) -> axum::Router {
    axum::Router::new()
        .route("/log", get(read_log).put(set_log).with_state(log))
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz).with_state(services))
        .route("/metrics", get(render_metrics).with_state(registries))
}

async fn read_log(State(log): State<LogControl>) -> String {
    format!("{}\n", log.levels())
}

async fn set_log(State(log): State<LogControl>, levels: String) -> (StatusCode, String) {
    match log.set(levels.trim()) {
        Ok(()) => (StatusCode::OK, format!("{}\n", log.levels())),
        Err(wrong) => (StatusCode::BAD_REQUEST, format!("{wrong}\n")),
    }
}

async fn readyz(State(services): State<Vec<(&'static str, Readiness)>>) -> (StatusCode, String) {
    let mut waiting = Vec::new();
    for (service, readiness) in services {
        waiting.extend(readiness.missing().into_iter().map(|missing| format!("{service}: {missing}\n")));
    }
    if waiting.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("not ready, waiting for\n{}", waiting.concat()))
    }
}

async fn render_metrics(
    State(registries): State<Vec<prometheus::Registry>>,
    headers: HeaderMap,
) -> Result<([(HeaderName, &'static str); 1], String), StatusCode> {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    match metrics::page(&registries, accept) {
        Ok((content_type, page)) => Ok(([(CONTENT_TYPE, content_type)], page)),
        Err(error) => {
            tracing::error!(%error, "cannot render the metrics");
            Err(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}
