//! The status of each event and sink in the response to a create request.

use serde_json::{Value, json};
use tests::client::Upload;
use tests::{Mesh, guests};

const MQTT: &str = r#"{"type":"mqtt","params":{"host":"127.0.0.1","port":"1","topic":"t"}}"#;
const COUCHDB: &str =
    r#"{"type":"couchdb","params":{"url":"http://127.0.0.1:1/db","username":"u","password":"hunter2"}}"#;

fn function(name: &str) -> Upload {
    Upload::function(name, &guests::responding(b"1"))
}

pub async fn bindings_are_answered_one_by_one(mesh: &Mesh) {
    let user = mesh.user();
    user.create_module("bound").await;
    let events = format!(
        r#"[{MQTT},{{"type":"kafka","params":{{}}}},{{"type":"mqtt"}},{{"type":"mqtt","params":{{}}}}]"#
    );
    let sinks = format!(r#"[{COUCHDB},{{"type":"mongodb","params":{{}}}},7]"#);
    let upload = function("f").text("events", events).text("sinks", sinks);
    let answer = user.post_form("/v1/fn/bound", upload).await.expect(207).json();
    let data = &answer["data"];
    assert_eq!(data["name"], "f");
    assert_eq!(data["events_metadata"], json!({ "successful": 0, "failed": 4, "total": 4 }));
    assert_eq!(data["sinks_metadata"], json!({ "successful": 0, "failed": 3, "total": 3 }));
    assert!(message(data, "events", 1).starts_with("not_implemented"), "{data}");
    assert!(message(data, "events", 2).starts_with("bad_event_format"), "{data}");
    assert!(message(data, "sinks", 1).starts_with("not_implemented"), "{data}");
    assert!(message(data, "sinks", 1).contains("couchdb"), "the error lists the existing kinds: {data}");
    assert!(message(data, "sinks", 2).starts_with("bad_sink_format"), "{data}");
    // The broker and the store are down, but the bindings are kept.
    for binding in [message(data, "events", 0), message(data, "sinks", 0)] {
        assert!(!binding.is_empty() && !binding.contains("hunter2"), "{binding}");
    }
    assert_eq!(user.result("bound", "f", json!({})).await, json!(1), "the function itself exists");
    assert!(!user.get("/v1/fn/bound/f").await.expect(200).text.contains("hunter2"));

    // An update without bindings keeps them; an empty list removes them.
    let kept = user.put_form("/v1/fn/bound/f", function("f")).await;
    assert!(matches!(kept.status, 200 | 207), "{}", kept.text);
    let removed =
        user.put_form("/v1/fn/bound/f", function("f").text("events", "[]").text("sinks", "[]")).await;
    removed.expect(200);

    // Without bindings the response contains none.
    let plain = user.post_form("/v1/fn/bound", function("g").text("events", "").text("sinks", "[]")).await;
    assert!(plain.expect(201).json()["data"].get("events").is_none());
    user.delete("/v1/fn/bound").await.expect(204);
}

pub async fn bindings_that_cannot_be_read_store_nothing(mesh: &Mesh) {
    let user = mesh.user();
    user.create_module("unbound").await;
    for (part, text) in [("events", "{"), ("events", "{}"), ("sinks", "7"), ("sinks", "nonsense")] {
        let answer = user.post_form("/v1/fn/unbound", function("f").text(part, text)).await.expect(400);
        assert_eq!(answer.detail(), "Bad Request", "{part} {text}");
        user.get("/v1/fn/unbound/f").await.expect(404);
    }
    user.delete("/v1/fn/unbound").await.expect(204);
}

fn message(data: &Value, role: &str, index: usize) -> String {
    let entry = &data[role][index];
    assert_eq!(entry["status"], "error", "{role} {index} of {data}");
    entry["message"].as_str().unwrap_or_else(|| panic!("no message in {entry}")).to_owned()
}
