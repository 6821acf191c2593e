//! Draining on SIGTERM.

use std::time::Duration;

use serde_json::json;
use tests::gate::Gate;
use tests::{Mesh, Shape, guests, wait};

/// New requests are refused, running invocations finish, and the exit code is 0.
pub async fn running_invocations_finish(shape: Shape) {
    let mut mesh = Mesh::start(shape).await;
    let (gate, user) = (Gate::start().await, mesh.user());
    user.create_function("_", "caller", &guests::http_caller()).await;
    let running = tokio::spawn({
        let (user, url) = (user.clone(), gate.url().to_owned());
        async move { user.invoke("_", "caller", json!({ "url": url })).await }
    });
    gate.arrived(1).await;
    mesh.ask_to_stop();
    new_requests_are_refused(&mesh).await;
    assert!(!running.is_finished(), "the invocation was aborted");
    gate.open();
    let answer = running.await.expect("no panic").expect(200);
    assert_eq!(answer.json(), json!({ "data": { "status": 200, "body": "open" } }));
    let status = mesh.ended().await;
    assert!(status.success(), "{status}");
}

/// It need not wait for what runs.
pub async fn a_second_signal_stops_at_once(shape: Shape) {
    let mut mesh = Mesh::start(shape).await;
    let (gate, user) = (Gate::start().await, mesh.user());
    user.create_function("_", "caller", &guests::http_caller()).await;
    let running = tokio::spawn({
        let (user, url) = (user.clone(), gate.url().to_owned());
        async move {
            user.try_send(
                user.request(http::Method::POST, "/v1/fn/_/caller").json(&json!({ "args": { "url": url } })),
            )
            .await
            .is_ok()
        }
    });
    gate.arrived(1).await;
    mesh.ask_to_stop();
    new_requests_are_refused(&mesh).await;
    mesh.ask_to_stop();
    let status = mesh.ended().await;
    assert_eq!(status.code(), Some(128 + 15), "{status}");
    assert!(!running.await.expect("no panic"), "the invocation never ended");
}

async fn new_requests_are_refused(mesh: &Mesh) {
    wait::until("new requests are refused", Duration::from_secs(10), async || {
        // Use a new client: the connection with the running invocation stays open.
        let stranger = mesh.user();
        let refused = stranger.try_send(stranger.request(http::Method::GET, "/v1/fn")).await;
        refused.is_err().then_some(())
    })
    .await;
}
