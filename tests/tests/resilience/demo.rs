//! The first command of the README.

use std::time::Duration;

use tests::{Mesh, Shape, wait};

pub async fn the_demo_answers(shape: Shape) {
    let mut mesh = Mesh::start_with(shape, &["--demo"]).await;
    let answer = wait::until("the demo has answered", Duration::from_secs(60), async || {
        let log = mesh.log();
        log.lines().map(str::trim).find(|line| line.starts_with("{\"payload\"")).map(str::to_owned)
    });
    assert_eq!(answer.await, r#"{"payload":"Hello FunLess!"}"#);
    wait::until("it has told the times", Duration::from_secs(60), async || {
        mesh.log().contains("cold call").then_some(())
    })
    .await;
    // It keeps serving what it has shown.
    let again = mesh.user().result("_", "hello", serde_json::json!({ "name": "again" })).await;
    assert_eq!(again["payload"], "Hello again!");
    mesh.ask_to_stop();
    assert!(mesh.ended().await.success());
    let log = mesh.log();
    assert!(!log.contains("worker is lost"), "a clean stop loses no worker: {log}");
    assert!(!log.contains("fl fn upload hello"), "the demo has uploaded it: {log}");
}
