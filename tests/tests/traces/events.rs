//! The traces of events and results.

use std::time::Duration;

use serde_json::{Value, json};
use tests::client::Upload;
use tests::collector::{Collector, Span, Trace};
use tests::receiver::Receiver;
use tests::servers::{Couch, Mosquitto};
use tests::{Client, Shape, guests, wait};

use crate::paths::{trace_of, traced};

const LIMIT: Duration = Duration::from_secs(20);

const USER: &str = "ann";
const PASSWORD: &str = "hunter2";

/// An event that succeeds.
const EVENT: &str = "
    process in/+ (consumer)
      funless.scheduler.v1.Invocations/Invoke (client)
        funless.scheduler.v1.Invocations/Invoke (server)
          choose (internal)
          funless.worker.v1.Execution/Execute (client)
            funless.worker.v1.Execution/Execute (server)
              execute (internal)
                instantiate (internal)
                run (internal)
          funless.sink.v1.Delivery/Deliver (client)
            funless.sink.v1.Delivery/Deliver (server)
              enqueue couchdb (producer)
";

/// A request whose result goes to a sink.
const REQUEST: &str = "
    POST /v1/fn/{module}/{function} (server)
      funless.scheduler.v1.Invocations/Invoke (client)
        funless.scheduler.v1.Invocations/Invoke (server)
          choose (internal)
          funless.worker.v1.Execution/Execute (client)
            funless.worker.v1.Execution/Execute (server)
              execute (internal)
                instantiate (internal)
                run (internal)
          funless.sink.v1.Delivery/Deliver (client)
            funless.sink.v1.Delivery/Deliver (server)
              enqueue webhook (producer)
";

/// A result that is put into the outbox again.
const REDRIVEN_RESULT: &str = "
    POST /v1/dead-letters/{id}/redrive (server)
      funless.connector.v1.DeadLetters/GetDeadLetter (client) !
        funless.connector.v1.DeadLetters/GetDeadLetter (server)
          SELECT (client)
      funless.sink.v1.DeadLetters/GetDeadLetter (client)
        funless.sink.v1.DeadLetters/GetDeadLetter (server)
          SELECT (client)
          SELECT (client)
      funless.sink.v1.DeadLetters/RedriveDeadLetters (client)
        funless.sink.v1.DeadLetters/RedriveDeadLetters (server)
          SELECT (client)
          funless.registry.v1.Bindings/FindHolders (client)
            funless.registry.v1.Bindings/FindHolders (server) ...
          redrive (producer) ~
";

/// An event that becomes a dead letter.
const DEAD_EVENT: &str = "
    process in/+ (consumer) !
      funless.scheduler.v1.Invocations/Invoke (client)
        funless.scheduler.v1.Invocations/Invoke (server)
          choose (internal)
          funless.worker.v1.Execution/Execute (client)
            funless.worker.v1.Execution/Execute (server)
              execute (internal)
                instantiate (internal)
                run (internal)
";

/// A dead-lettered event that is redriven successfully.
const REDRIVEN_EVENT: &str = "
    POST /v1/dead-letters/{id}/redrive (server)
      funless.connector.v1.DeadLetters/GetDeadLetter (client)
        funless.connector.v1.DeadLetters/GetDeadLetter (server)
          SELECT (client)
      funless.sink.v1.DeadLetters/GetDeadLetter (client) !
        funless.sink.v1.DeadLetters/GetDeadLetter (server)
          SELECT (client)
      funless.connector.v1.DeadLetters/RedriveDeadLetters (client)
        funless.connector.v1.DeadLetters/RedriveDeadLetters (server)
          SELECT (client)
          redrive (internal) ~
            funless.scheduler.v1.Invocations/Invoke (client)
              funless.scheduler.v1.Invocations/Invoke (server)
                choose (internal)
                funless.worker.v1.Execution/Execute (client)
                  funless.worker.v1.Execution/Execute (server)
                    execute (internal)
                      instantiate (internal)
                      run (internal)
                funless.sink.v1.Delivery/Deliver (client)
                  funless.sink.v1.Delivery/Deliver (server)
                    enqueue webhook (producer)
";

/// A delivery that succeeds.
const DELIVERED: &str = "deliver webhook (consumer) ~\n  POST (client)";

/// A delivery that the store refuses permanently.
const REFUSED: &str = "deliver webhook (consumer) ! ~\n  POST (client) !";

/// Uploads a function with an event and a sink.
async fn upload(user: &Client, code: &[u8], event: Value, sink: Value) {
    let upload = Upload::function("hello", code)
        .text("events", json!([event]).to_string())
        .text("sinks", json!([sink]).to_string());
    user.post_form("/v1/fn/_", upload).await.expect(201);
}

fn mqtt(broker: &Mosquitto) -> Value {
    json!({ "type": "mqtt", "params": { "host": "127.0.0.1", "port": broker.port(), "topic": "in/+" } })
}

/// The trace of the delivery that is linked to the span `enqueued`.
async fn delivery_of(collector: &Collector, enqueued: &Span, expected: &str) -> Trace {
    let link = (enqueued.trace_id.clone(), enqueued.id.clone());
    let what = format!("a delivery is linked to {link:?}");
    let is_it = |span: &Span| span.name.starts_with("deliver ") && span.links.contains(&link);
    let delivery = collector.expect_span(&what, is_it).await;
    assert_ne!(delivery.trace_id, enqueued.trace_id, "a delivery has its own trace");
    collector.expect_tree(&delivery.trace_id, expected).await
}

/// Waits for a dead letter and returns it.
async fn letter(user: &Client) -> Value {
    wait::until("there is a dead letter", LIMIT, async || {
        let letters = user.get("/v1/dead-letters").await.expect(200).json()["data"].take();
        letters.get(0).cloned()
    })
    .await
}

/// Redrives a dead letter and returns the trace id.
async fn redrive(user: &Client, letter: &Value) -> String {
    let path = format!("/v1/dead-letters/{}/redrive", text(&letter["id"]));
    trace_of(&user.post(&path, &json!({})).await.expect(200))
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

#[track_caller]
fn assert_attributes(span: &Span, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(span.attribute(name), *value, "{name} of {}", span.name);
    }
}

pub async fn from_an_event_to_a_store(shape: Shape) {
    let (mesh, collector) = traced(shape, &[]).await;
    let (broker, store) = tokio::join!(Mosquitto::start(), Couch::start());
    let store = store.protected(USER, PASSWORD).await;
    let database = store.create_database("results").await;
    let sink = json!({ "type": "couchdb", "params": {
        "url": database, "username": USER, "password": PASSWORD
    } });
    let user = mesh.user();
    upload(&user, &guests::hello(), mqtt(&broker), sink).await;
    // Warm up the function and the connection to the store.
    user.invoke("_", "hello", json!({ "name": "you" })).await.expect(200);
    store.documents("results", 1, LIMIT).await;

    broker.publish("in/hello", r#"{"name":"Ann"}"#);
    store.documents("results", 2, LIMIT).await;
    let event = collector.expect_span("an event", |span| span.name == "process in/+").await;
    assert_eq!(event.parent, "", "the event is the root of its trace");
    let trace = collector.expect_tree(&event.trace_id, EVENT).await;
    let invocation = trace.span("execute").attribute("faas.invocation_id");
    assert_is_event(&event, invocation);
    assert_is_delivered(&collector, trace.span("enqueue couchdb"), &database, invocation).await;
    assert_continues_the_publishers_trace(&collector, &broker).await;
    assert!(!format!("{:?}", collector.spans()).contains(PASSWORD));
}

fn assert_is_event(event: &Span, invocation: &str) {
    assert_attributes(
        event,
        &[
            ("messaging.system", "mqtt"),
            ("messaging.operation.name", "process"),
            ("messaging.operation.type", "process"),
            ("messaging.destination.name", "in/hello"),
            ("messaging.destination.template", "in/+"),
            ("messaging.message.body.size", "14"),
            ("faas.trigger", "pubsub"),
            ("faas.name", "_/hello"),
            ("faas.invocation_id", invocation),
        ],
    );
    assert!(!event.attribute("funless.event_id").is_empty());
}

/// Asserts that the result was put into the outbox and delivered from there.
async fn assert_is_delivered(collector: &Collector, enqueued: &Span, database: &str, invocation: &str) {
    let destination = database.trim_end_matches("/results");
    let same = [
        ("funless.sink.kind", "couchdb"),
        ("funless.sink.destination", destination),
        ("faas.invocation_id", invocation),
        ("funless.binding_id", enqueued.attribute("funless.binding_id")),
    ];
    assert_attributes(enqueued, &same);

    let delivered = delivery_of(collector, enqueued, "deliver couchdb (consumer) ~\n  POST (client)").await;
    let attempt = delivered.span("deliver couchdb");
    assert_attributes(attempt, &same);
    assert_attributes(
        attempt,
        &[
            ("messaging.batch.message_count", "1"),
            ("funless.sink.attempt", "1"),
            ("funless.sink.delivered", "1"),
        ],
    );
    assert_attributes(
        delivered.span("POST"),
        &[
            ("http.request.method", "POST"),
            ("http.response.status_code", "201"),
            ("url.scheme", "http"),
            ("server.address", "127.0.0.1"),
        ],
    );
}

/// Asserts that an event continues the trace of its publisher.
async fn assert_continues_the_publishers_trace(collector: &Collector, broker: &Mosquitto) {
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let property = ["-V", "5", "-D", "publish", "user-property", "traceparent", parent];
    broker.publish_with(&[&property[..], &["-t", "in/hello", "-m", r#"{"name":"Bob"}"#]].concat());
    let is_its = |span: &Span| span.parent == "b7ad6b7169203331";
    let event = collector.expect_span("an event of a publisher's trace", is_its).await;
    assert_eq!((event.name.as_str(), &event.trace_id[..]), ("process in/+", &parent[3..35]));
}

pub async fn a_dead_lettered_result_is_redriven(shape: Shape) {
    let (mesh, collector) = traced(shape, &[]).await;
    let (broker, receiver) = tokio::join!(Mosquitto::start(), Receiver::start());
    let user = mesh.user();
    let url = format!("{}?key={PASSWORD}", receiver.url());
    let sink = json!({ "type": "webhook", "params": { "url": url, "max_attempts": 1 } });
    upload(&user, &guests::hello(), mqtt(&broker), sink).await;
    user.invoke("_", "hello", json!({ "name": "warm" })).await.expect(200);
    receiver.taken(1, LIMIT).await;

    receiver.answer_with(400);
    let answer = user.invoke("_", "hello", json!({ "name": "you" })).await.expect(200);
    let trace = collector.expect_tree(&trace_of(&answer), REQUEST).await;
    let failed = delivery_of(&collector, trace.span("enqueue webhook"), REFUSED).await;
    let letter = letter(&user).await;
    let attempt = failed.span("deliver webhook");
    assert_eq!(text(&letter["trace_id"]), attempt.trace_id);
    assert_attributes(
        attempt,
        &[
            ("funless.dead_letter.id", text(&letter["id"])),
            ("funless.sink.dead", "1"),
            ("funless.sink.refused", "1"),
            ("error.type", "dead_letter"),
        ],
    );
    assert_attributes(
        failed.span("POST"),
        &[("http.response.status_code", "400"), ("error.type", "400"), ("server.address", "127.0.0.1")],
    );

    receiver.answer_with(200);
    let redriven = collector.expect_tree(&redrive(&user, &letter).await, REDRIVEN_RESULT).await;
    let redrive = redriven.span("redrive");
    assert_eq!(redrive.links, [(attempt.trace_id.clone(), attempt.id.clone())]);
    assert_attributes(redrive, &[("funless.dead_letter.id", text(&letter["id"]))]);
    let delivered = delivery_of(&collector, redrive, DELIVERED).await;
    let posted = receiver.taken(2, LIMIT).await;
    let traceparent = posted[1].headers["traceparent"].to_str().expect("text");
    let post = delivered.span("POST");
    assert_eq!(
        traceparent,
        format!("00-{}-{}-01", post.trace_id, post.id),
        "the store receives the trace context"
    );
    assert!(!format!("{:?}", collector.spans()).contains(PASSWORD));
}

pub async fn a_dead_lettered_event_is_redriven(shape: Shape) {
    let (mesh, collector) = traced(shape, &[]).await;
    let (broker, receiver) = tokio::join!(Mosquitto::start(), Receiver::start());
    let user = mesh.user();
    let sink = json!({ "type": "webhook", "params": { "url": receiver.url() } });
    upload(&user, &guests::hello(), mqtt(&broker), sink).await;
    user.invoke("_", "hello", json!({ "name": "warm" })).await.expect(200);
    receiver.taken(1, LIMIT).await;

    // `hello` needs a name.
    broker.publish("in/hello", r#"{"who":"Ann"}"#);
    let letter = letter(&user).await;
    let trace = collector.expect_tree(text(&letter["trace_id"]), DEAD_EVENT).await;
    let failed = trace.span("process in/+");
    let died = [
        ("funless.dead_letter.id", text(&letter["id"])),
        ("faas.invocation_id", text(&letter["invocation_id"])),
    ];
    assert_attributes(failed, &died);
    assert_attributes(failed, &[("error.type", "dead_letter")]);

    user.update_function("_", "hello", &guests::echo()).await;
    user.invoke("_", "hello", json!({ "warm": "again" })).await.expect(200);
    receiver.taken(2, LIMIT).await;
    let redriven = collector.expect_tree(&redrive(&user, &letter).await, REDRIVEN_EVENT).await;
    let redrive = redriven.span("redrive");
    assert_eq!(redrive.links, [(failed.trace_id.clone(), failed.id.clone())]);
    assert_attributes(redrive, &died);
    delivery_of(&collector, redriven.span("enqueue webhook"), DELIVERED).await;
}
