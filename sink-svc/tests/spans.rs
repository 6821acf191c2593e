//! The spans of results, collected in this process.

#[path = "support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "other tests use the rest of it")]
mod support;

use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;
use http::StatusCode;
use mesh::testing::spans::{EndedSpans, attribute, links, traceparent};
use opentelemetry::trace::{SpanId, SpanKind};
use proto::binding::v1::BindingState;
use support::receiver::Receiver;
use support::servers::Nats;
use support::{Database, Sink, World, delivered, delivery, traced};

const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNSAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

async fn take(sink: &Sink, invocation_id: &str, traceparent: &str) {
    let request = traced(traceparent, delivery(&["a"], invocation_id, "1"));
    sink.delivery().deliver(request).await.expect("accepted");
}

#[tokio::test]
async fn spans_of_results() {
    // Samples only spans that belong to a sampled trace.
    let ended = EndedSpans::collect(0.0);
    a_batch_is_one_span_linked_to_all_sampled_results(&ended).await;
    unsampled_results_have_no_span(&ended).await;
    a_message_carries_its_trace_context(&ended).await;
}

/// Answers like a CouchDB that accepts all documents.
fn accept_all(body: &str) -> Response {
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let result = |document: &serde_json::Value| serde_json::json!({ "ok": true, "id": document["_id"] });
    let results: Vec<_> = body["docs"].as_array().into_iter().flatten().map(result).collect();
    (StatusCode::CREATED, serde_json::Value::from(results).to_string()).into_response()
}

async fn a_batch_is_one_span_linked_to_all_sampled_results(ended: &EndedSpans) {
    let (world, database, receiver) = (World::new(), Database::sqlite(), Receiver::start().await);
    receiver.answer(accept_all);
    let sink = world.start(&database).await;
    // The binding does not run here yet, so its kind is not known.
    for (id, trace) in [("i1", SAMPLED), ("i2", UNSAMPLED), ("i3", SAMPLED)] {
        take(&sink, id, trace).await;
    }
    sink.take("a", "i4", "1").await;
    let enqueued = ended.expect("enqueue result", 2).await;
    for span in &enqueued {
        assert_eq!(span.span_kind, SpanKind::Producer);
        assert_eq!(attribute(span, "funless.binding_id"), "a");
    }
    world.registry.put("a", "couchdb", &format!(r#"{{"url":"{}"}}"#, receiver.url()));
    sink.eventually_counts("a", delivered(4)).await;
    let batch = ended.expect("deliver couchdb", 1).await.remove(0);
    let expected: Vec<_> = enqueued.iter().map(|span| traceparent(&span.span_context)).collect();
    assert_eq!(links(&batch), expected);
    assert_eq!((&batch.span_kind, batch.parent_span_id), (&SpanKind::Consumer, SpanId::INVALID));
    assert_eq!(attribute(&batch, "messaging.batch.message_count"), "4");
    let post =
        ended.named("POST").into_iter().find(|span| span.parent_span_id == batch.span_context.span_id());
    assert_eq!(attribute(&post.expect("a request"), "http.response.status_code"), "201");
}

async fn unsampled_results_have_no_span(ended: &EndedSpans) {
    let before = ended.named("deliver webhook").len();
    let (world, database, receiver) = (World::new(), Database::sqlite(), Receiver::start().await);
    world.registry.put("a", "webhook", &format!(r#"{{"url":"{}"}}"#, receiver.url()));
    let sink = world.start(&database).await;
    take(&sink, "i1", UNSAMPLED).await;
    sink.eventually_counts("a", delivered(1)).await;
    let context = receiver.taken()[0].headers["traceparent"].to_str().expect("text").to_owned();
    assert!(context.starts_with(&UNSAMPLED[..36]) && context.ends_with("-00"), "{context}");
    take(&sink, "i2", SAMPLED).await;
    ended.expect("deliver webhook", before + 1).await;
    assert_eq!(ended.named("deliver webhook").len(), before + 1, "only of the second");
}

async fn a_message_carries_its_trace_context(ended: &EndedSpans) {
    let (world, database, nats) = (World::new(), Database::sqlite(), Nats::start().await);
    let stream = async_nats::jetstream::stream::Config {
        name: "results".into(),
        subjects: vec!["results.>".into()],
        ..Default::default()
    };
    let stream = nats.jetstream().await.create_stream(stream).await.expect("created");
    let params = format!(r#"{{"url":"{}","subject":"results.shop"}}"#, nats.url());
    world.registry.put("a", "nats", &params);
    let sink = world.start(&database).await;
    sink.eventually_is("a", BindingState::Connected).await;
    take(&sink, "i1", SAMPLED).await;
    let publish = ended.expect("publish results.shop", 1).await.remove(0);
    let delivery = ended.expect("deliver nats", 1).await.remove(0);
    assert_eq!(publish.parent_span_id, delivery.span_context.span_id());
    assert_eq!(
        (&publish.span_kind, attribute(&publish, "messaging.system")),
        (&SpanKind::Producer, "nats".into())
    );
    let consumer = async_nats::jetstream::consumer::pull::OrderedConfig::default();
    let consumer = stream.create_consumer(consumer).await.expect("created");
    let message = consumer.messages().await.expect("messages").next().await.expect("one").expect("a message");
    let headers = message.headers.as_ref().expect("headers");
    let context = headers.get("traceparent").map(|value| value.as_str());
    assert_eq!(context, Some(&*traceparent(&publish.span_context)));
}
