//! The admin port: `/metrics`, `/livez` and `/readyz` for load balancers and supervisors, and `/log`, which
//! returns (GET) or changes (PUT) the log levels.

use axum::extract::State;
use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;

use crate::auth::Secret;
use crate::health::Readiness;
use crate::metrics;
use crate::telemetry::LogControl;

/// The admin endpoints of services that share a process. Only who shows `secret` may change something.
pub fn router(
    registries: Vec<prometheus::Registry>,
    services: Vec<(&'static str, Readiness)>,
    log: LogControl,
    secret: Option<Secret>,
) -> axum::Router {
    axum::Router::new()
        .route("/log", get(read_log).put(set_log).with_state((log, secret)))
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz).with_state(services))
        .route("/metrics", get(render_metrics).with_state(registries))
}

async fn read_log(State((log, _)): State<(LogControl, Option<Secret>)>) -> String {
    format!("{}\n", log.levels())
}

async fn set_log(
    State((log, secret)): State<(LogControl, Option<Secret>)>,
    headers: HeaderMap,
    levels: String,
) -> (StatusCode, String) {
    let Some(secret) = secret else {
        let message = "nobody may change the log levels, since this service has no server.secret\n";
        return (StatusCode::FORBIDDEN, message.to_owned());
    };
    let shown = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    if !shown.is_some_and(|shown| secret.is(shown)) {
        let message = "expected `authorization: Bearer SECRET` with the secret of the mesh, or with the token of the \
                       administrator for `fl up` in one process\n";
        return (StatusCode::UNAUTHORIZED, message.to_owned());
    }
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

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt as _;
    use tracing_subscriber::{EnvFilter, reload};

    use super::*;

    #[tokio::test]
    async fn only_who_shows_the_secret_changes_the_log_levels() {
        let (_layer, handle) = reload::Layer::new(EnvFilter::new("info"));
        let log = LogControl::new(handle);
        let secret = Some(Secret::new("hunter2"));
        for (secret, authorization, levels, status, expected) in [
            (None, Some("Bearer hunter2"), "debug", 403, "no server.secret"),
            (None, None, "debug", 403, "no server.secret"),
            (secret.clone(), None, "debug", 401, "authorization: Bearer SECRET"),
            (secret.clone(), Some("Bearer hunter3"), "debug", 401, "authorization: Bearer SECRET"),
            (secret.clone(), Some("hunter2"), "debug", 401, "authorization: Bearer SECRET"),
            (secret.clone(), Some("Bearer hunter2"), "info,worker_svc=noisy", 400, "neither a level nor"),
            (secret.clone(), Some("Bearer hunter2"), "debug", 200, "debug"),
        ] {
            let router = router(Vec::new(), Vec::new(), log.clone(), secret);
            let mut request = Request::put("/log").body(Body::from(levels)).expect("a request");
            if let Some(authorization) = authorization {
                let value = authorization.parse().expect("a header");
                request.headers_mut().insert(AUTHORIZATION, value);
            }
            let response = router.oneshot(request).await.expect("an answer");
            assert_eq!(response.status(), status, "{authorization:?}");
            let body = axum::body::to_bytes(response.into_body(), 1000).await.expect("a body");
            let body = String::from_utf8_lossy(&body);
            assert!(body.contains(expected), "{body}");
        }
    }
}
