//! What operators do with `fl`: rotate tokens, and look after a mesh.

use std::time::Duration;

use serde_json::{Value, json};
use tests::client::Upload;
use tests::fl::fl;
use tests::{Mesh, guests, wait};

/// How long an ended token may still be accepted, with some time to spare on a busy machine.
const REVOKED: Duration = Duration::from_secs(10);

pub async fn tokens_are_rotated(mesh: &Mesh) {
    let admin = mesh.admin();
    let first = admin.create_subject("rotated").await;
    first.get("/v1/fn").await.expect(200);
    let rotated = fl(mesh, &admin, &["admin", "user", "rotate", "rotated", "--grace", "1h"]).await;
    let (title, token) = rotated.out.split_once('\n').expect("two lines");
    assert_eq!(title, "User rotated has a new token; the one before ends. Auth token:");
    let second = admin.with_token(Some(token));
    second.create_module("of_rotated").await;
    first.get("/v1/fn/of_rotated").await.expect(200);

    // It is the same user, whose former tokens now end.
    let quiet = fl(mesh, &admin, &["a", "u", "r", "rotated", "-q"]).await;
    let third = admin.with_token(Some(&quiet.out));
    third.get("/v1/fn/of_rotated").await.expect(200);
    for ended in [&first, &second] {
        wait::until("the token is refused", REVOKED, async || {
            (ended.get("/v1/fn").await.status == 401).then_some(())
        })
        .await;
    }
    third.delete("/v1/fn/of_rotated").await.expect(204);
    let configured = fl(mesh, &admin, &["a", "u", "r", "admin"]).await;
    assert_eq!((configured.code, &*configured.out), (Some(1), ""));
    assert!(configured.err.contains("the registry's configuration defines"), "{}", configured.err);
    let long = fl(mesh, &admin, &["a", "u", "r", "rotated", "--grace", "31d"]).await;
    assert!(long.err.ends_with("fl: error: grace must be at most 30 days"), "{}", long.err);
    let soon = fl(mesh, &admin, &["a", "u", "r", "rotated", "--grace", "soon"]).await;
    assert!(soon.err.contains("a number of seconds, or a time like 90s"), "{}", soon.err);
}

pub async fn a_mesh_says_what_is_wrong(mesh: &Mesh) {
    let user = mesh.admin().create_subject("onlooker").await;
    let well = fl(mesh, &user, &["status"]).await;
    assert_eq!(well.code, Some(0), "{}\n{}", well.out, well.err);
    assert!(well.out.ends_with("workers: 1\n\nnothing is wrong"), "{}", well.out);
    let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    for service in ["gateway", "registry", "scheduler", "connector", "sink"] {
        let expected = [service, "ready", env!("CARGO_PKG_VERSION")];
        assert!(well.out.lines().any(|line| cells(line) == expected), "{service}: {}", well.out);
    }
    // Administrators see the workers.
    let all = fl(mesh, &mesh.admin(), &["status", "-o", "json"]).await;
    let all: Value = serde_json::from_str(&all.out).expect("valid JSON");
    let workers = mesh.admin().get("/v1/admin/workers").await.expect(200).json();
    assert_eq!(all["data"]["workers"][0]["name"], workers["data"]["workers"][0]["name"]);

    user.create_module("watched").await;
    let events = json!([{ "type": "mqtt", "params": { "host": "127.0.0.1", "port": 1, "topic": "t" } }]);
    let upload = Upload::function("f", &guests::echo()).text("events", events.to_string());
    user.post_form("/v1/fn/watched", upload).await.expect(207);
    let broken = fl(mesh, &user, &["status"]).await;
    assert_eq!(broken.code, Some(1), "{}", broken.out);
    let problem = "problem: the event mqtt of watched/f is not connected: ";
    assert!(broken.out.contains(problem) && broken.out.ends_with("see `fl events status watched/f`"));
    let quiet = fl(mesh, &user, &["status", "-q"]).await;
    assert_eq!((quiet.code, &*quiet.out), (Some(1), ""));
    user.delete("/v1/fn/watched").await.expect(204);
}
