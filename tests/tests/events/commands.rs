//! Events and sinks from the command line.

use std::time::Duration;

use serde_json::{Value, json};
use tests::fl::{Printed, fl};
use tests::servers::{Couch, Mosquitto};
use tests::{Client, Mesh, Shape, guests, wait};

const LIMIT: Duration = Duration::from_secs(20);

pub async fn events_and_sinks_from_the_command_line(shape: Shape) {
    let mesh = Mesh::start(shape).await;
    let (broker, store) = tokio::join!(Mosquitto::start(), Couch::start());
    let database = store.create_database("results").await;
    let user = mesh.user();
    let run = async |line: &[&str]| fl(&mesh, &user, line).await;

    let file = tempfile::NamedTempFile::with_suffix(".wasm").expect("a file");
    std::fs::write(file.path(), guests::hello()).expect("failed to write the file");
    let path = file.path().to_string_lossy().into_owned();
    let events = json!([{ "type": "mqtt", "params": {
        "host": "127.0.0.1", "port": broker.port(), "topic": "names"
    } }]);
    let sinks = json!([{ "type": "couchdb", "params": { "url": database } }]);
    let (events, sinks) = (events.to_string(), sinks.to_string());
    let uploaded = run(&["fn", "upload", "greet", &path, "--events", &events, "--sinks", &sinks]).await;
    assert!(uploaded.success && uploaded.err.is_empty(), "{uploaded:?}");

    broker.publish("names", r#"{"name":"Ann"}"#);
    broker.publish("names", r#"{"who":"Bob"}"#);
    store.documents("results", 1, LIMIT).await;
    for (line, word) in
        [(["events", "status", "greet"], "connected"), (["sinks", "status", "greet"], "connected")]
    {
        let printed = run(&line).await;
        assert!(printed.success && printed.out.contains(word), "{printed:?}");
    }
    for line in [["events", "list"], ["sinks", "list"]] {
        let printed = run(&line).await;
        assert!(printed.success && printed.out.contains("greet"), "{printed:?}");
    }

    let letter = letter(&mesh, &user).await;
    let shown = run(&["dead-letters", "show", &letter]).await;
    assert!(shown.success && shown.out.contains(r#"{"who":"Bob"}"#), "{shown:?}");
    let again = run(&["dead-letters", "redrive", &letter]).await;
    assert!(!again.success && again.err.contains(&letter), "`hello` still needs a name: {again:?}");
    user.update_function("_", "greet", &guests::echo()).await;
    assert!(run(&["dead-letters", "redrive", "--all"]).await.success);
    store.documents("results", 2, LIMIT).await;
    let none = run(&["dead-letters", "list", "--json"]).await;
    let none: Value = serde_json::from_str(&none.out).expect("valid JSON");
    assert!(none["data"].as_array().is_some_and(Vec::is_empty), "{none}");

    tests::chaos::settled(&user).await;
    let audit = run(&["audit", "events"]).await;
    assert!(audit.success && audit.out.contains("received"), "{audit:?}");

    let wrong = run(&["dead-letters", "show", &letter]).await;
    assert!(!wrong.success && !wrong.err.is_empty(), "{wrong:?}");
}

/// Waits for a dead letter and returns its id.
async fn letter(mesh: &Mesh, user: &Client) -> String {
    wait::until("there is a dead letter", LIMIT, async || {
        let Printed { success, out, err, .. } = fl(mesh, user, &["dead-letters", "list", "--json"]).await;
        assert!(success, "{err}");
        let list: Value = serde_json::from_str(&out).expect("valid JSON");
        Some(list["data"].get(0)?["id"].as_str()?.to_owned())
    })
    .await
}
