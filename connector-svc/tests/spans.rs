//! The spans of events, as a tracer of this process sees them.

#[path = "support/mod.rs"]
#[expect(dead_code, reason = "other tests want the rest of it")]
mod support;

use std::time::Duration;

use mesh::deadline::Deadline;
use mesh::testing::eventually;
use mesh::testing::spans::{EndedSpans, attribute, links, traceparent};
use opentelemetry::trace::{SpanKind, Status};
use proto::deadletter::v1::RedriveDeadLettersRequest;
use serde_json::json;
use support::Stage;
use support::fakes::Reply;
use support::servers::Mosquitto;

#[tokio::test]
async fn events_and_their_traces() {
    let ended = EndedSpans::collect(1.0);
    what_comes_again_is_linked_to_its_first_receipt(&ended).await;
    an_event_without_redelivery_continues_its_trace(&ended).await;
    a_redrive_is_linked_to_what_failed_last(&ended).await;
}

async fn what_comes_again_is_linked_to_its_first_receipt(ended: &EndedSpans) {
    let (broker, stage) = (Mosquitto::start().await, Stage::new());
    stage.scheduler.behave(|_| Reply::Wait);
    let params = json!({ "host": "127.0.0.1", "port": broker.port, "topic": "a/#" });
    stage.registry.bind("b", "mqtt", &params);
    let connector = stage.connector().await;
    connector.connected("b").await;
    broker.publish(&["-t", "a/b", "-m", "1"]);
    eventually("the function runs", async || stage.scheduler.calls().len() == 1).await;
    connector.kill();

    let connector = stage.connector().await;
    eventually("it runs again", async || stage.scheduler.calls().len() == 2).await;
    stage.scheduler.let_go(2);
    connector.settled("b", 1).await;
    let spans = ended.expect("process a/#", 2).await;
    let [first, again] = &spans[..] else { panic!("two receipts: {spans:?}") };
    for span in [first, again] {
        assert_eq!(
            (&span.span_kind, attribute(span, "messaging.system")),
            (&SpanKind::Consumer, "mqtt".into())
        );
        assert_eq!(attribute(span, "messaging.destination.name"), "a/b");
    }
    let id = |span| attribute(span, "faas.invocation_id");
    assert_eq!(id(first), id(again));
    assert!(first.links.links.is_empty());
    assert_ne!(first.span_context.trace_id(), again.span_context.trace_id());
    assert_eq!(links(again), [traceparent(&first.span_context)]);
    assert_eq!(
        stage.scheduler.calls()[1].traceparent.as_ref().expect("told")[3..35],
        again.span_context.trace_id().to_string()
    );
}

async fn an_event_without_redelivery_continues_its_trace(ended: &EndedSpans) {
    let stage = Stage::new();
    stage.scheduler.behave(|_| Reply::Wait);
    stage.registry.bind("c", "cron", &json!({ "schedule": "* * * * * *", "max_in_flight": 1 }));
    let connector = stage.connector().await;
    eventually("the function runs", async || stage.scheduler.calls().len() == 1).await;
    connector.kill();

    let _connector = stage.connector().await;
    eventually("it runs again", async || stage.scheduler.calls().len() == 2).await;
    stage.scheduler.let_go(2);
    let spans = ended.expect("fire * * * * * *", 2).await;
    let (first, again) = (&spans[0], &spans[1]);
    assert_eq!(again.span_context.trace_id(), first.span_context.trace_id());
    assert_eq!(again.parent_span_id, first.span_context.span_id());
    let id = |span| attribute(span, "faas.invocation_id");
    assert_eq!(id(first), id(again));
    assert_eq!(
        (attribute(first, "faas.trigger"), attribute(first, "faas.cron")),
        ("timer".into(), "* * * * * *".into())
    );
    assert!(attribute(first, "faas.time").ends_with('Z'));
}

async fn a_redrive_is_linked_to_what_failed_last(ended: &EndedSpans) {
    let (broker, stage) = (Mosquitto::start().await, Stage::new());
    stage.scheduler.behave(|_| Reply::Error("no luck"));
    let params = json!({ "host": "127.0.0.1", "port": broker.port, "topic": "dead" });
    stage.registry.bind("d", "mqtt", &params);
    let connector = stage.connector().await;
    connector.connected("d").await;
    broker.publish(&["-t", "dead", "-m", "1"]);
    connector.settled("d", 1).await;
    let mut failed = ended.expect("process dead", 1).await.remove(0);
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for attempt in 1..=2 {
        let letter = connector.letters().await.remove(0);
        assert_eq!(failed.status, Status::error(""));
        assert_eq!(letter.trace_id, failed.span_context.trace_id().to_string());
        assert_eq!(attribute(&failed, "funless.dead_letter.id"), letter.id);
        let mut request =
            Deadline::after(Duration::from_secs(10)).attach(RedriveDeadLettersRequest::default());
        request.metadata_mut().insert("traceparent", trace.parse().expect("text"));
        connector.dead_letters().redrive_dead_letters(request).await.expect("answered");
        let redrive = ended.expect("redrive", attempt).await.pop().expect("one");
        assert_eq!(redrive.span_context.trace_id().to_string(), trace[3..35]);
        assert_eq!(links(&redrive), [traceparent(&failed.span_context)]);
        failed = redrive;
    }
}
