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
    wait::until("new requests are refused", Duration::from_secs(10), async || {
        // Use a new client: the connection with the running invocation stays open.
        let stranger = mesh.user();
        let refused = stranger.try_send(stranger.request(http::Method::GET, "/v1/fn")).await;
        refused.is_err().then_some(())
    })
    .await;
    assert!(!running.is_finished(), "the invocation was aborted");
    gate.open();
    let answer = running.await.expect("no panic").expect(200);
    assert_eq!(answer.json(), json!({ "data": { "status": 200, "body": "open" } }));
    let status = mesh.ended().await;
    assert!(status.success(), "{status}");
}
