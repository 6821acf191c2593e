//! The spans of events, as a tracer of this process sees them. It is one for all of its threads, so that
//! this is a program of its own.

#[path = "support/mod.rs"]
#[expect(dead_code, reason = "other tests want the rest of it")]
mod support;

use std::sync::Arc;
use std::time::Duration;

use mesh::deadline::Deadline;
use mesh::telemetry::SPANS;
use mesh::testing::eventually;
use opentelemetry::Context;
use opentelemetry::trace::{SpanKind, Status, TracerProvider as _};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, Span, SpanData, SpanProcessor};
use parking_lot::Mutex;
use proto::deadletter::v1::RedriveDeadLettersRequest;
use serde_json::json;
use support::Stage;
use support::fakes::Reply;
use support::servers::Mosquitto;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Spans that have ended.
#[derive(Debug, Clone, Default)]
struct Ended(Arc<Mutex<Vec<SpanData>>>);

impl SpanProcessor for Ended {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.lock().push(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl Ended {
    fn collect() -> Self {
        let ended = Self::default();
        let provider = SdkTracerProvider::builder().with_span_processor(ended.clone()).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("tests"));
        let layer = layer.with_filter(filter_fn(|metadata| metadata.is_span() && metadata.target() == SPANS));
        tracing_subscriber::registry().with(layer).init();
        ended
    }

    /// Waits for so many spans of this name, and gives them in the order in which they ended.
    async fn named(&self, name: &str, count: usize) -> Vec<SpanData> {
        let named = || self.0.lock().iter().filter(|span| span.name == name).cloned().collect::<Vec<_>>();
        eventually(&format!("{count} spans {name} have ended"), async || named().len() >= count).await;
        named()
    }
}

fn attribute(span: &SpanData, name: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == name);
    found.unwrap_or_else(|| panic!("no {name} in {span:?}")).value.to_string()
}

#[tokio::test]
async fn events_and_their_traces() {
    let ended = Ended::collect();
    what_comes_again_is_linked_to_its_first_receipt(&ended).await;
    what_nobody_sends_again_goes_on_in_its_trace(&ended).await;
    a_redrive_is_linked_to_what_failed_last(&ended).await;
}

async fn what_comes_again_is_linked_to_its_first_receipt(ended: &Ended) {
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
    let spans = ended.named("process a/#", 2).await;
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
    let links: Vec<_> = again.links.links.iter().map(|link| link.span_context.span_id()).collect();
    assert_eq!(links, [first.span_context.span_id()]);
    assert_eq!(
        stage.scheduler.calls()[1].traceparent.as_ref().expect("told")[3..35],
        again.span_context.trace_id().to_string()
    );
}

async fn what_nobody_sends_again_goes_on_in_its_trace(ended: &Ended) {
    let stage = Stage::new();
    stage.scheduler.behave(|_| Reply::Wait);
    stage.registry.bind("c", "cron", &json!({ "schedule": "* * * * * *", "max_in_flight": 1 }));
    let connector = stage.connector().await;
    eventually("the function runs", async || stage.scheduler.calls().len() == 1).await;
    connector.kill();

    let _connector = stage.connector().await;
    eventually("it runs again", async || stage.scheduler.calls().len() == 2).await;
    stage.scheduler.let_go(2);
    let spans = ended.named("fire * * * * * *", 2).await;
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

async fn a_redrive_is_linked_to_what_failed_last(ended: &Ended) {
    let (broker, stage) = (Mosquitto::start().await, Stage::new());
    stage.scheduler.behave(|_| Reply::Error("no luck"));
    let params = json!({ "host": "127.0.0.1", "port": broker.port, "topic": "dead" });
    stage.registry.bind("d", "mqtt", &params);
    let connector = stage.connector().await;
    connector.connected("d").await;
    broker.publish(&["-t", "dead", "-m", "1"]);
    connector.settled("d", 1).await;
    let mut failed = ended.named("process dead", 1).await.remove(0);
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
        let redrive = ended.named("redrive", attempt).await.pop().expect("one");
        assert_eq!(redrive.span_context.trace_id().to_string(), trace[3..35]);
        let links: Vec<_> = redrive.links.links.iter().map(|link| link.span_context.span_id()).collect();
        assert_eq!(links, [failed.span_context.span_id()]);
        failed = redrive;
    }
}
