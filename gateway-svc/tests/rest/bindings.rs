use std::time::{Duration, Instant};

use proto::binding::v1::BindingState;
use serde_json::{Value, json};

use super::{WASM, data};
use crate::support::bindings::Answers;
use crate::support::http::{Answer, form, send};
use crate::support::{Mesh, nowhere};

const MQTT: &str = r#"{"type":"mqtt","params":{"host":"h","port":1883,"topic":"t"}}"#;
const COUCH: &str = r#"{"type":"couchdb","params":{"url":"http://db/x"}}"#;

async fn upload(mesh: &Mesh, method: &str, path: &str, parts: &[(&str, &str)]) -> Answer {
    send(mesh.request(method, path).multipart(form(parts))).await
}

fn counts(successful: usize, failed: usize) -> Value {
    json!({"successful": successful, "failed": failed, "total": successful + failed})
}

#[tokio::test]
async fn connected_bindings_are_a_success() {
    let mesh = Mesh::start().await;
    let (events, sinks) = (format!("[{MQTT},{MQTT}]"), format!("[{COUCH}]"));
    let parts = [("name", "f"), ("events", &events), ("code", WASM), ("sinks", &sinks)];
    let answer = upload(&mesh, "POST", "/v1/fn/_", &parts).await;
    let success = json!({"status": "success"});
    let expected = json!({
        "name": "f",
        "events": [success, success], "events_metadata": counts(2, 0),
        "sinks": [success], "sinks_metadata": counts(1, 0),
        "workers": {"ready": ["w1"], "failed": []},
    });
    assert_eq!((answer.status, answer.published()), (201, data(expected)));
    let answer = upload(&mesh, "PUT", "/v1/fn/_/f", &[("events", &events)]).await;
    let expected = json!({"name": "f", "events": [success, success], "events_metadata": counts(2, 0)});
    assert_eq!((answer.status, answer.published()), (200, data(expected)));
}

#[tokio::test]
async fn entries_have_individual_outcomes_in_order() {
    let mesh = Mesh::start().await;
    mesh.connector.known.lock().state("mqtt-1", BindingState::Retrying, "connection refused");
    mesh.sink.known.lock().state("couchdb-0", BindingState::Unspecified, "");
    let events = format!(r#"[{MQTT}, {{"type":"kafka","params":{{}}}}, {MQTT}, {{"type":"mqtt"}}, 7]"#);
    let sinks = format!(r#"[{{"params":{{}}}}, {{"type":"mongodb","params":{{}}}}, {COUCH}]"#);
    let parts = [("name", "f"), ("code", WASM), ("events", &events), ("sinks", &sinks)];
    let answer = upload(&mesh, "POST", "/v1/fn/_", &parts).await;
    assert_eq!(answer.status, 207, "{}", answer.text);
    let body = answer.json();
    let (events, sinks) = (&body["data"]["events"], &body["data"]["sinks"]);
    assert_eq!(events[0], json!({"status": "success"}));
    assert_eq!(events[2], json!({"status": "error", "message": "connection refused", "stored": true}));
    let beginnings = [
        (&events[1], "not_implemented: kafka"),
        (&events[3], "bad_event_format"),
        (&events[4], "bad_event_format"),
        (&sinks[0], "bad_sink_format"),
        (&sinks[1], "not_implemented: mongodb; there is couchdb"),
        (&sinks[2], "not connected"),
    ];
    for (outcome, beginning) in beginnings {
        assert_eq!(outcome["status"], "error");
        assert_eq!(outcome["stored"], beginning == "not connected");
        let message = outcome["message"].as_str().expect("a message");
        assert!(message.starts_with(beginning), "{message} should start with {beginning}");
    }
    assert_eq!(body["data"]["events_metadata"], counts(1, 4));
    assert_eq!(body["data"]["sinks_metadata"], counts(0, 3));

    let state = mesh.registry.state.lock();
    let function = &state.modules["_"]["f"];
    let kinds = |bindings: &[proto::registry::v1::Binding]| {
        bindings.iter().map(|binding| binding.r#type.clone()).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&function.events), ["mqtt", "mqtt"], "refused ones are not stored");
    assert_eq!(kinds(&function.sinks), ["couchdb"]);
    assert_eq!(function.events[0].params, r#"{"host":"h","port":1883,"topic":"t"}"#);
}

#[tokio::test]
async fn an_update_replaces_given_lists_and_keeps_absent_ones() {
    let mesh = Mesh::start().await;
    let (events, sinks) = (format!("[{MQTT}]"), format!("[{COUCH}]"));
    upload(
        &mesh,
        "POST",
        "/v1/fn/_",
        &[("name", "f"), ("code", WASM), ("events", &events), ("sinks", &sinks)],
    )
    .await;
    let stored = || {
        let state = mesh.registry.state.lock();
        let function = &state.modules["_"]["f"];
        (function.events.len(), function.sinks.len())
    };
    assert_eq!(stored(), (1, 1));
    let two = format!("[{MQTT},{MQTT}]");
    for (part, expected) in
        [(("events", two.as_str()), (2, 1)), (("sinks", "[]"), (2, 0)), (("events", " "), (0, 0))]
    {
        let answer = upload(&mesh, "PUT", "/v1/fn/_/f", &[part]).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(stored(), expected, "{part:?}");
        if part.1 != two {
            assert_eq!(answer.json(), data(json!({"name": "f"})));
        }
    }
    let answer = upload(&mesh, "PUT", "/v1/fn/_/f", &[("events", r#"[{"type":"x","params":{}}]"#)]).await;
    assert_eq!(answer.status, 207);
}

#[tokio::test]
async fn nothing_is_stored_if_a_list_is_malformed() {
    let mesh = Mesh::start().await;
    for part in [("events", "{}"), ("events", "nonsense"), ("sinks", "null"), ("sinks", "[1")] {
        let answer = upload(&mesh, "POST", "/v1/fn/_", &[("name", "f"), ("code", WASM), part]).await;
        assert_eq!(answer.status, 400, "{part:?}");
    }
    assert!(mesh.registry.state.lock().modules["_"].is_empty());
}

#[tokio::test]
async fn without_connector_and_sink_service_bindings_are_stored_as_unconnected() {
    let mesh = Mesh::start_with(|config| {
        config.connector = nowhere();
        config.sink = nowhere();
    })
    .await;
    let (events, sinks) = (format!("[{MQTT}]"), format!("[{COUCH},5]"));
    let parts = [("name", "f"), ("code", WASM), ("events", &events), ("sinks", &sinks)];
    let answer = upload(&mesh, "POST", "/v1/fn/_", &parts).await;
    assert_eq!(answer.status, 207);
    let body = answer.json();
    assert_eq!(body["data"]["events"][0]["message"], "not connected: the connector does not answer");
    assert_eq!(body["data"]["sinks"][0]["message"], "not connected: the sink service does not answer");
    assert_eq!(
        (&body["data"]["events_metadata"], &body["data"]["sinks_metadata"]),
        (&counts(0, 1), &counts(0, 2))
    );
    let state = mesh.registry.state.lock();
    assert_eq!((state.modules["_"]["f"].events.len(), state.modules["_"]["f"].sinks.len()), (1, 1));
}

#[tokio::test]
async fn bindings_that_are_connecting_are_reported_in_time() {
    let mesh = Mesh::start_with(|config| config.binding_timeout_s = 1).await;
    {
        let mut known = mesh.connector.known.lock();
        known.answers = Answers::OnlyWhoDoesNotWait;
        known.state("mqtt-0", BindingState::Connecting, "");
        mesh.sink.known.lock().answers = Answers::Never;
    }
    let (events, sinks) = (format!("[{MQTT}]"), format!("[{COUCH}]"));
    let parts = [("name", "f"), ("code", WASM), ("events", &events), ("sinks", &sinks)];
    let started = Instant::now();
    let answer = upload(&mesh, "POST", "/v1/fn/_", &parts).await;
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(10), "{took:?}");
    assert_eq!(answer.status, 207);
    let body = answer.json();
    assert_eq!(
        body["data"]["events"],
        json!([{"status": "error", "message": "still connecting", "stored": true}])
    );
    assert_eq!(body["data"]["sinks"][0]["message"], "not connected: the sink service does not answer");
}
