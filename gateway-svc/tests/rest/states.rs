//! The state of events and sinks.

use std::time::{Duration, Instant};

use proto::binding::v1::BindingState;
use proto::connector::v1::EventCounts;
use serde_json::{Value, json};

use super::{WASM, data, detail};
use crate::support::bindings::Answers;
use crate::support::http::Body;
use crate::support::{Mesh, nowhere};

/// The functions `_/f` with two events and a sink, `_/g` with a sink, and `m/f` with an event.
async fn create_functions(mesh: &Mesh) {
    let events = ("events", r#"[{"type":"mqtt","params":{"topic":"a"}},{"type":"mqtt","params":{}}]"#);
    let sinks = ("sinks", r#"[{"type":"couchdb","params":{}}]"#);
    const EVENT: (&str, &str) = ("events", r#"[{"type":"mqtt","params":{}}]"#);
    mesh.ask("POST", "/v1/fn", Body::Json(r#"{"module":{"name":"m"}}"#)).await;
    let functions: [(&str, &[(&str, &str)]); 3] = [
        ("/v1/fn/_", &[("name", "f"), ("code", WASM), events, sinks]),
        ("/v1/fn/_", &[("name", "g"), ("code", WASM), sinks]),
        ("/v1/fn/m", &[("name", "f"), ("code", WASM), EVENT]),
    ];
    for (path, parts) in functions {
        let upload = mesh.request("POST", path).multipart(crate::support::http::form(parts));
        assert_eq!(crate::support::http::send(upload).await.status, 201);
    }
}

#[tokio::test]
async fn a_function_is_shown_with_the_state_of_its_events_and_sinks() {
    let mesh = Mesh::start().await;
    create_functions(&mesh).await;
    {
        let mut known = mesh.connector.known.lock();
        known.counts = EventCounts { received: 3, acknowledged: 2, in_flight: 1, ..EventCounts::default() };
        known.state("mqtt-1", BindingState::Retrying, "connection refused");
        mesh.sink.known.lock().state("couchdb-0", BindingState::Connecting, "");
    }
    let shown = mesh.ask("GET", "/v1/fn/_/f", Body::None).await.json();
    let counts = json!({
        "received": 3, "acknowledged": 2, "in_flight": 1, "lost": 0, "invalid": 0,
        "dead_lettered": 0, "dead_letters": 0, "redriven": 0, "purged": 0,
    });
    let since = "2023-11-14T22:13:20Z";
    let events = json!([
        {
            "id": "mqtt-0", "type": "mqtt", "params": {"topic": "a"}, "state": "connected", "since": since,
            "message": null, "last_event_at": "2023-11-14T22:13:21Z", "counts": counts,
        },
        {
            "id": "mqtt-1", "type": "mqtt", "params": {}, "state": "retrying", "since": since,
            "message": "connection refused", "last_event_at": null, "counts": counts,
        },
    ]);
    assert_eq!(shown["data"]["events"], events);
    assert_eq!(shown["data"]["sinks"][0]["state"], "connecting");
    mesh.sink.known.lock().state("couchdb-0", BindingState::Unspecified, "");
    let shown = mesh.ask("GET", "/v1/fn/_/f", Body::None).await.json();
    let sink = &shown["data"]["sinks"][0];
    assert_eq!((&sink["state"], &sink["since"]), (&json!("unknown"), &Value::Null));
}

#[tokio::test]
async fn a_function_is_shown_even_if_the_state_of_its_bindings_is_unknown() {
    let mesh = Mesh::start_with(|config| config.connector = nowhere()).await;
    create_functions_unconnected(&mesh).await;
    mesh.sink.known.lock().answers = Answers::Never;
    let started = Instant::now();
    let answer = mesh.ask("GET", "/v1/fn/_/f", Body::None).await;
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(answer.status, 200);
    let body = answer.json();
    for (list, service, last) in
        [("events", "connector", "last_event_at"), ("sinks", "sink service", "last_delivery_at")]
    {
        let shown = &body["data"][list][0];
        let message = json!(format!("the {service} does not answer"));
        assert_eq!((&shown["state"], &shown["message"]), (&json!("unknown"), &message));
        assert_eq!((&shown[last], &shown["counts"]), (&Value::Null, &Value::Null));
    }
}

async fn create_functions_unconnected(mesh: &Mesh) {
    let parts = &[
        ("name", "f"),
        ("code", WASM),
        ("events", r#"[{"type":"mqtt","params":{}}]"#),
        ("sinks", r#"[{"type":"couchdb","params":{}}]"#),
    ];
    assert_eq!(mesh.ask("POST", "/v1/fn/_", Body::Form(parts)).await.status, 207);
}

#[tokio::test]
async fn events_and_sinks_are_listed_by_function() {
    let mesh = Mesh::start().await;
    create_functions(&mesh).await;
    let listed = async |path: &str| {
        let answer = mesh.ask("GET", path, Body::None).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let body = answer.json();
        let of = |entry: &Value| {
            let part = |key: &str| entry[key].as_str().expect("text").to_owned();
            assert_eq!(entry["state"], "connected");
            format!("{}/{} {}", part("module"), part("function"), part("id"))
        };
        body["data"].as_array().expect("a list").iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(listed("/v1/events").await, ["_/f mqtt-0", "_/f mqtt-1", "m/f mqtt-0"]);
    assert_eq!(listed("/v1/events?module=_").await, ["_/f mqtt-0", "_/f mqtt-1"]);
    assert_eq!(listed("/v1/events?module=m&function=f").await, ["m/f mqtt-0"]);
    assert_eq!(listed("/v1/sinks").await, ["_/f couchdb-0", "_/g couchdb-0"]);
    assert_eq!(listed("/v1/sinks?module=_&function=g").await, ["_/g couchdb-0"]);
    assert!(listed("/v1/sinks?module=m").await.is_empty());

    for list in ["events", "sinks"] {
        let cases = [
            ("module=nope", 404, detail("Not Found")),
            ("module=_&function=nope", 404, detail("Not Found")),
            ("function=f", 400, detail("Bad Request: function: expected a module with it")),
            (
                "modul=_",
                400,
                detail("Bad Request: modul: unknown field `modul`, expected `module` or `function`"),
            ),
        ];
        for (query, status, expected) in cases {
            let answer = mesh.ask("GET", &format!("/v1/{list}?{query}"), Body::None).await;
            assert_eq!((answer.status, answer.published()), (status, expected), "{list} {query}");
        }
    }
    let caller = mesh.registry.state.lock().caller.clone();
    assert_eq!(caller, Some(mesh::Caller::Subject("ann".into())));
}

#[tokio::test]
async fn without_bindings_the_list_is_empty() {
    let mesh = Mesh::start_with(|config| config.connector = nowhere()).await;
    for path in ["/v1/events", "/v1/sinks"] {
        let answer = mesh.ask("GET", path, Body::None).await;
        assert_eq!((answer.status, answer.published()), (200, data(json!([]))));
    }
}
