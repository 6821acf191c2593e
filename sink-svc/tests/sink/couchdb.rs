//! CouchDB sinks: results become documents.

use std::collections::HashMap;

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use futures::future::join_all;
use http::StatusCode;
use http::header::LOCATION;
use mesh::testing::eventually;
use proto::binding::v1::BindingState;
use proto::sink::v1::SinkCounts;
use serde_json::{Value, json};

use crate::support::receiver::Receiver;
use crate::support::servers::Couch;
use crate::support::{Database, World, assert_conserved, contract, delivered};

contract!(
    results_become_documents,
    an_outage_loses_nothing,
    messages_from_stores_are_bounded_and_have_no_control_characters
);

fn by_id(documents: Vec<Value>) -> HashMap<String, Value> {
    let documents = documents.into_iter().map(|mut document| {
        let members = document.as_object_mut().expect("an object");
        members.remove("_rev");
        let id = members.remove("_id").expect("an id");
        (id.as_str().expect("a string").to_owned(), document)
    });
    documents.collect()
}

async fn results_become_documents(database: Database) {
    let (world, couch) = (World::new(), Couch::start().await);
    couch.create_database("results").await;
    let params = format!(r#"{{"url":"{}"}}"#, couch.url("results"));
    world.registry.put("a", "couchdb", &params);
    world.registry.put("b", "couchdb", &params);
    let sink = world.start(&database).await;
    sink.eventually_is("a", BindingState::Connected).await;
    let results = [
        ("i1", r#"{"a":{"b":[1]}}"#, json!({"a": {"b": [1]}})),
        ("i2", "[1,2]", json!({"result": [1, 2]})),
        ("i3", r#"{"_id":"mine","x":1}"#, json!({"result": {"_id": "mine", "x": 1}})),
        ("i4", "{}", json!({})),
    ];
    for (id, result, _) in &results {
        sink.take("a", id, result).await;
        sink.take("a", id, result).await;
    }
    // Another sink of the same database: a document that exists already is delivered.
    sink.take("b", "i1", r#"{"a":{"b":[1]}}"#).await;
    sink.eventually_counts("a", delivered(4)).await;
    sink.eventually_counts("b", delivered(1)).await;
    let documents = by_id(couch.documents("results").await);
    assert_eq!(documents.len(), 4);
    for (id, _, document) in results {
        assert_eq!(documents[id], document, "{id}");
    }
}

async fn an_outage_loses_nothing(database: Database) {
    let (world, mut couch) = (World::new(), Couch::start().await);
    couch.create_database("results").await;
    world.registry.put("a", "couchdb", &format!(r#"{{"url":"{}"}}"#, couch.url("results")));
    let sink = world.start(&database).await;
    let take = |from: u32| {
        let sink = &sink;
        join_all((from..from + 700).map(|number| async move {
            sink.take("a", &format!("i{number}"), &format!(r#"{{"n":{number}}}"#)).await;
        }))
    };
    take(0).await;
    couch.kill();
    take(700).await;
    sink.eventually_is("a", BindingState::Retrying).await;
    couch.listen().await;
    sink.eventually_counts("a", delivered(1400)).await;
    let documents = by_id(couch.documents("results").await);
    assert_eq!(documents.len(), 1400);
    assert!((0..1400).all(|number| documents[&format!("i{number}")] == json!({"n": number})));
    assert_conserved(&database).await;
}

#[tokio::test]
async fn a_refused_result_does_not_affect_others() {
    let (world, database, couch) = (World::new(), Database::sqlite(), Couch::start().await);
    couch.create_database("results").await;
    let params = format!(r#"{{"url":"{}","max_attempts":1}}"#, couch.url("results"));
    world.registry.put("a", "couchdb", &params);
    let sink = world.start(&database).await;
    let writes = (0..20).map(|number| {
        let result = if number == 7 { "no JSON" } else { "{}" };
        let sink = &sink;
        async move { sink.take("a", &format!("i{number}"), result).await }
    });
    join_all(writes).await;
    let expected = SinkCounts { accepted: 20, delivered: 19, dead: 1, ..SinkCounts::default() };
    sink.eventually_counts("a", expected).await;
    let letter = sink.letters().await.remove(0);
    assert_eq!(letter.invocation_id, "i7");
    assert!(letter.reason.contains("the result is not valid JSON"), "{}", letter.reason);
}

#[tokio::test]
async fn results_wait_for_a_missing_database() {
    let (world, database, couch) = (World::new(), Database::sqlite(), Couch::start().await);
    couch.create_database("there").await;
    for name in ["there", "missing"] {
        let params = format!(r#"{{"url":"{}","max_attempts":1}}"#, couch.url(name));
        world.registry.put(name, "couchdb", &params);
    }
    let sink = world.start(&database).await;
    let message = sink.eventually_is("missing", BindingState::Retrying).await;
    assert_eq!(message, format!("no database {}", couch.url("missing")));
    sink.take("missing", "i", "{}").await;
    sink.take("there", "i", "{}").await;
    sink.eventually_counts("there", delivered(1)).await;
    couch.create_database("missing").await;
    sink.eventually_counts("missing", delivered(1)).await;
    sink.eventually_is("missing", BindingState::Connected).await;
    eventually("the document exists", async || couch.documents("missing").await.len() == 1).await;
}

/// A fake database. `outcome` makes the answer for each document.
async fn fake_database(outcome: impl Fn(&Value) -> Value + Send + Sync + 'static) -> Receiver {
    let receiver = Receiver::start().await;
    receiver.answer(move |body| answer(body, &outcome));
    receiver
}

fn answer(body: &str, outcome: impl Fn(&Value) -> Value) -> Response {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let documents = body["docs"].as_array().map(Vec::as_slice).unwrap_or_default();
    match documents.iter().any(|document| document["breaks"] == true) {
        true => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        false => Json(documents.iter().map(outcome).collect::<Value>()).into_response(),
    }
}

fn accept(document: &Value) -> Value {
    json!({"ok": true, "id": document["_id"], "rev": "1-x"})
}

async fn messages_from_stores_are_bounded_and_have_no_control_characters(database: Database) {
    let receiver = fake_database(|document| {
        let reason = format!("no\0 \u{1b}[2J{}", "ß".repeat(400_000));
        json!({"id": document["_id"], "error": "forbidden", "reason": reason})
    });
    let (world, receiver) = (World::new(), receiver.await);
    let params = format!(r#"{{"url":"{}","max_attempts":2}}"#, receiver.url());
    world.registry.put("a", "couchdb", &params);
    let sink = world.start(&database).await;
    sink.take("a", "i", "{}").await;
    sink.eventually_counts("a", SinkCounts { accepted: 1, dead: 1, ..SinkCounts::default() }).await;
    let reason = sink.letters().await.remove(0).reason;
    assert!(reason.starts_with("forbidden: no") && reason.len() < 1100, "{reason}");
    assert!(!reason.contains(char::is_control), "{reason}");
    assert_conserved(&database).await;
}

#[tokio::test]
async fn a_result_that_breaks_requests_is_found_by_bisection() {
    let (world, database, receiver) = (World::new(), Database::sqlite(), fake_database(accept).await);
    // The results arrive before the binding, so that they are sent together.
    let params = format!(r#"{{"url":"{}","max_attempts":1}}"#, receiver.url());
    let sink = world.start(&database).await;
    for number in 0..40 {
        let result = format!(r#"{{"breaks":{}}}"#, number == 27);
        sink.take("a", &format!("i{number}"), &result).await;
    }
    world.registry.put("a", "couchdb", &params);
    let expected = SinkCounts { accepted: 40, delivered: 39, dead: 1, ..SinkCounts::default() };
    sink.eventually_counts("a", expected).await;
    assert_eq!(sink.letters().await[0].invocation_id, "i27");
    assert!(receiver.requests() < 30, "{} requests", receiver.requests());
    assert_conserved(&database).await;
}

#[tokio::test]
async fn errors_of_the_database_do_not_count_against_results() {
    let (world, database, receiver) = (World::new(), Database::sqlite(), Receiver::start().await);
    receiver.answer(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response());
    let sink = world.start(&database).await;
    for number in 0..100 {
        sink.take("a", &format!("i{number}"), "{}").await;
    }
    world.registry.put("a", "couchdb", &format!(r#"{{"url":"{}","max_attempts":1}}"#, receiver.url()));
    let message = sink.eventually_is("a", BindingState::Retrying).await;
    assert!(message.contains("answered 500"), "{message}");
    eventually("it got more requests", async || receiver.requests() >= 4).await;
    // One probe, and one request at a time.
    assert!(receiver.requests() < 10, "{} requests", receiver.requests());
    receiver.answer(|body| answer(body, accept));
    sink.eventually_counts("a", delivered(100)).await;
    assert!(sink.letters().await.is_empty());
}

#[tokio::test]
async fn a_redirect_is_final_and_names_its_target() {
    let (world, database, receiver) = (World::new(), Database::sqlite(), Receiver::start().await);
    // Only writes are redirected.
    receiver.answer(|body| match body {
        "" => StatusCode::OK.into_response(),
        _ => (StatusCode::MOVED_PERMANENTLY, [(LOCATION, "/elsewhere")]).into_response(),
    });
    let sink = world.start(&database).await;
    for number in 0..10 {
        sink.take("a", &format!("i{number}"), "{}").await;
    }
    world.registry.put("a", "couchdb", &format!(r#"{{"url":"{}"}}"#, receiver.url()));
    sink.eventually_counts("a", SinkCounts { accepted: 10, dead: 10, ..SinkCounts::default() }).await;
    let place = receiver.url().replace("/in", "/elsewhere");
    let expected = format!("answered 301 Moved Permanently, a redirect to {place}: sinks do not follow");
    for letter in sink.letters().await {
        assert!(letter.reason.starts_with(&expected), "{}", letter.reason);
        assert_eq!(letter.attempts, 1);
    }
    let message = sink.eventually_is("a", BindingState::Retrying).await;
    assert!(message.starts_with(&expected), "{message}");
    receiver.answer(|body| answer(body, accept));
    sink.take("a", "next", "{}").await;
    assert_eq!(sink.eventually_is("a", BindingState::Connected).await, "");
}

#[tokio::test]
async fn a_redirected_probe_names_the_target() {
    let (world, database, receiver) = (World::new(), Database::sqlite(), Receiver::start().await);
    let target = "http://user:hunter2@127.0.0.1:1/db?token=hunter2";
    receiver.answer(move |_| (StatusCode::FOUND, [(LOCATION, target)]).into_response());
    world.registry.put("a", "couchdb", &format!(r#"{{"url":"{}"}}"#, receiver.url()));
    let sink = world.start(&database).await;
    let message = sink.eventually_is("a", BindingState::Retrying).await;
    let expected = format!("{}: answered 302 Found, a redirect to http://127.0.0.1:1/db: ", receiver.url());
    assert!(message.starts_with(&expected), "{message}");
}
