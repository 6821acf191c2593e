//! The first command of the README.

use std::time::Duration;

use tests::{Mesh, Shape, fl, wait};

/// The commands that `fl up` suggests work. Without the demo there are two.
pub async fn the_next_steps_are_as_printed(shape: Shape) {
    let mesh = Mesh::start(shape).await;
    let log = mesh.log();
    let next: Vec<_> = log.lines().map(str::trim).filter(|line| line.starts_with("fl ")).collect();
    assert_eq!(next.len(), 2, "{log}");
    for line in next {
        let printed = fl::typed(line).await;
        assert!(printed.success, "{line}: {printed:?}");
    }
}

pub async fn the_demo_answers(shape: Shape) {
    let mut mesh = Mesh::start_with(shape, &["--demo"]).await;
    let answer = wait::until("the demo has answered", Duration::from_secs(60), async || {
        let log = mesh.log();
        log.lines().map(str::trim).find(|line| line.starts_with("{\"payload\"")).map(str::to_owned)
    });
    assert_eq!(answer.await, r#"{"payload":"Hello FunLess!"}"#);
    wait::until("the demo has printed its times", Duration::from_secs(60), async || {
        mesh.log().contains("cold call").then_some(())
    })
    .await;
    // The demo's function can still be invoked.
    let again = mesh.user().result("_", "hello", serde_json::json!({ "name": "again" })).await;
    assert_eq!(again["payload"], "Hello again!");
    // The suggested command works.
    let log = mesh.log();
    let next: Vec<_> = log.lines().map(str::trim).filter(|line| line.starts_with("fl ")).collect();
    assert_eq!(next.len(), 1, "the demo has already uploaded the function: {log}");
    let printed = fl::typed(next[0]).await;
    assert!(printed.success && printed.out.contains("Hello you!"), "{}: {printed:?}", next[0]);
    mesh.ask_to_stop();
    assert!(mesh.ended().await.success());
    let log = mesh.log();
    assert!(!log.contains("worker is lost"), "a clean stop loses no worker: {log}");
}
