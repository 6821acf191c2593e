//! The registry is away: known users go on invoking functions.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use http::{Method, Request, StatusCode};
use mesh::testing::{Served, eventually};
use proto::registry::v1::{Role, Subject};
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::ServiceExt as _;

use super::WASM;
use crate::support::http::Body as Sent;
use crate::support::{ANN, Mesh, ROOT};

const MINUTE: Duration = Duration::from_secs(60);

/// The status of a request that passes no socket, which would disturb simulated time, and the body of the response.
async fn ask(
    mesh: &Mesh,
    token: &str,
    method: Method,
    path: &str,
    body: &'static str,
) -> (StatusCode, Value) {
    let request =
        Request::builder().method(method).uri(path).header("authorization", format!("Bearer {token}"));
    let request = request.body(Body::from(body)).expect("a request");
    let response = mesh.service.router.clone().oneshot(request).await.expect("a response");
    let status = response.status();
    let body = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

async fn invoke(mesh: &Mesh, token: &str) -> StatusCode {
    let (status, body) = ask(mesh, token, Method::POST, "/v1/fn/_/f", r#"{"args":7}"#).await;
    assert!(status != StatusCode::OK || body == json!({"data": 7}), "{body}");
    status
}

fn unavailable() -> (StatusCode, Value) {
    let message = "the registry cannot be reached";
    let detail = format!("Service Unavailable: {message}");
    let errors = json!({"detail": detail, "message": message, "reason": "UNAVAILABLE"});
    (StatusCode::SERVICE_UNAVAILABLE, json!({ "errors": errors }))
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_an_hour_stops_no_invocation() {
    let mesh = Mesh::start_in_one_process().await;
    let _serving = mesh.service.readiness.serving();
    let create = r#"{"module":{"name":"m"}}"#;
    assert_eq!(ask(&mesh, ROOT, Method::POST, "/v1/fn", create).await.0, StatusCode::CREATED);
    assert_eq!(invoke(&mesh, ANN).await, StatusCode::OK);
    // Ann is quiet for a while before the outage.
    tokio::time::sleep(10 * MINUTE).await;

    mesh.set_registry_away(true);
    let began = Instant::now();
    assert_eq!(invoke(&mesh, ANN).await, StatusCode::OK, "before the gateway has noticed");
    tokio::time::sleep(Duration::from_secs(2)).await;
    while began.elapsed() < 60 * MINUTE {
        assert_eq!(invoke(&mesh, ANN).await, StatusCode::OK, "after {:?}", began.elapsed());
        let asked = Instant::now();
        let second = ask(&mesh, ROOT, Method::DELETE, "/v1/fn/m", "").await;
        assert_eq!(second, unavailable(), "a write after {:?}", began.elapsed());
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
        assert_eq!(ask(&mesh, "unknown", Method::GET, "/v1/fn", "").await, unavailable());
        assert_eq!(mesh.service.readiness.missing(), Vec::<&str>::new(), "it stays ready");
        tokio::time::sleep(MINUTE).await;
    }
    let lasted = mesh.metric("funless_registry_unreachable_seconds");
    assert!((3595.0..3605.0).contains(&lasted), "{lasted}");
    assert!(mesh.metric(r#"funless_gateway_token_checks_total{outcome="unverified"}"#) >= 120.0);

    // The grace period is over.
    tokio::time::sleep(2 * MINUTE).await;
    assert_eq!(invoke(&mesh, ANN).await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(mesh.service.readiness.missing(), ["reaches the registry"]);
    mesh.set_registry_away(false);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(invoke(&mesh, ANN).await, StatusCode::OK);
    assert_eq!(mesh.service.readiness.missing(), Vec::<&str>::new());
    assert_eq!(mesh.metric("funless_registry_unreachable_seconds"), 0.0);
}

#[tokio::test(start_paused = true)]
async fn what_was_known_before_an_outage_decides() {
    let mesh = Mesh::start_in_one_process_with(|config| config.token_grace_s = 600).await;
    let now_ms = mesh::clock::now_ms();
    for (name, expires_at_ms) in [("bob", now_ms + 3_600_000), ("eve", 0), ("old", 0)] {
        let mut state = mesh.registry.state.lock();
        state.tokens.insert(name.into(), name.into());
        let subject = Subject { name: name.into(), role: Role::Subject.into(), expires_at_ms };
        state.subjects.insert(name.into(), subject);
    }
    assert_eq!(invoke(&mesh, "old").await, StatusCode::OK);
    tokio::time::sleep(11 * MINUTE).await;
    for token in ["bob", "eve"] {
        assert_eq!(invoke(&mesh, token).await, StatusCode::OK, "{token}");
    }
    mesh.registry.revoke("eve");
    tokio::time::sleep(MINUTE).await;
    assert_eq!(invoke(&mesh, "eve").await, StatusCode::UNAUTHORIZED, "the revocation is seen");

    mesh.set_registry_away(true);
    tokio::time::sleep(MINUTE).await;
    let cases = [
        ("bob", StatusCode::OK, "known"),
        ("eve", StatusCode::UNAUTHORIZED, "revoked before the outage"),
        ("old", StatusCode::SERVICE_UNAVAILABLE, "not confirmed within the grace period"),
        (ROOT, StatusCode::SERVICE_UNAVAILABLE, "never seen"),
    ];
    for (token, status, why) in cases {
        assert_eq!(invoke(&mesh, token).await, status, "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_expires_during_an_outage_is_refused() {
    let mesh = Mesh::start_in_one_process().await;
    {
        let mut state = mesh.registry.state.lock();
        let expires_at_ms = mesh::clock::now_ms() + 300;
        state.subjects.entry("ann".into()).and_modify(|ann| ann.expires_at_ms = expires_at_ms);
    }
    assert_eq!(invoke(&mesh, ANN).await, StatusCode::OK);
    mesh.set_registry_away(true);
    tokio::time::sleep(MINUTE).await;
    // Tokens expire by the time of day, which is not simulated.
    while invoke(&mesh, ANN).await == StatusCode::OK {
        tokio::task::yield_now().await;
    }
    assert_eq!(invoke(&mesh, ANN).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn writes_fail_at_once_when_the_registry_is_gone() {
    let mut mesh = Mesh::start_with(|config| config.token_cache_s = 0).await;
    let _serving = mesh.service.readiness.serving();
    let readiness = mesh.service.readiness.clone();
    eventually("the gateway is ready", async || readiness.missing().is_empty()).await;
    assert_eq!(mesh.ask("POST", "/v1/fn/_/f", Sent::Json("{}")).await.status, 200);
    let elsewhere = Served::start(axum::Router::new()).await;
    std::mem::replace(&mut mesh.registry_server, elsewhere).kill();
    let (status, expected) = unavailable();
    let upload = || Sent::Form(&[("name", "f"), ("code", WASM)]);
    for (method, path, body) in [
        ("POST", "/v1/fn/_", upload()),
        ("PUT", "/v1/fn/_/f", upload()),
        ("POST", "/v1/fn", Sent::Json(r#"{"module":{"name":"m"}}"#)),
        ("DELETE", "/v1/fn/_/f", Sent::None),
        ("GET", "/v1/fn", Sent::None),
    ] {
        let asked = Instant::now();
        let answer = mesh.ask(method, path, body).await;
        assert_eq!((answer.status, answer.json()), (status.as_u16(), expected.clone()), "{method} {path}");
        assert_eq!(answer.header("retry-after"), Some("1"), "nothing was done");
        assert!(asked.elapsed() < Duration::from_secs(1), "{method} {path}: {:?}", asked.elapsed());
        assert_eq!(mesh.ask("POST", "/v1/fn/_/f", Sent::Json("{}")).await.status, 200, "invocations go on");
    }
    assert_eq!(readiness.missing(), Vec::<&str>::new());
}
