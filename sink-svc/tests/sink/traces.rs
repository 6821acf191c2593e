//! A result keeps its trace context, which is sent to its store even if no spans are exported here.

use axum::response::IntoResponse as _;
use http::{HeaderMap, StatusCode};
use mesh::testing::eventually;
use proto::deadletter::v1::RedriveDeadLettersRequest;
use proto::sink::v1::SinkCounts;

use crate::support::receiver::Receiver;
use crate::support::{Database, Sink, World, assert_conserved, contract, delivered, delivery, traced};

contract!(
    a_trace_survives_a_restart,
    a_dead_letter_keeps_its_trace_and_a_redrive_sets_another,
    an_older_outbox_is_migrated,
);

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const OTHER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

/// Sends a result to the sink within a trace.
async fn take(sink: &Sink, invocation_id: &str, traceparent: &str) {
    let request = traced(traceparent, delivery(&["a"], invocation_id, "1"));
    sink.delivery().deliver(request).await.expect("accepted");
}

/// The delivered invocations, in order, with their trace contexts. Delivery is at least once: repeats are
/// left out.
fn delivered_traces(receiver: &Receiver) -> Vec<(String, Option<String>)> {
    let text = |headers: &HeaderMap, name| Some(headers.get(name)?.to_str().expect("text").to_owned());
    let of = |headers| (text(headers, "x-funless-invocation").expect("an id"), text(headers, "traceparent"));
    let mut traces: Vec<_> = receiver.taken().iter().map(|received| of(&received.headers)).collect();
    traces.sort();
    traces.dedup();
    traces
}

async fn a_trace_survives_a_restart(database: Database) {
    let (world, receiver) = (World::new(), Receiver::start().await);
    world.registry.put("a", "webhook", &format!(r#"{{"url":"{}"}}"#, receiver.url()));
    receiver.answer(|_| StatusCode::SERVICE_UNAVAILABLE.into_response());
    let sink = world.start(&database).await;
    take(&sink, "i1", TRACE).await;
    sink.take("a", "i2", "2").await;
    eventually("a request was sent", async || receiver.requests() > 0).await;
    sink.kill();

    receiver.answer(|_| StatusCode::OK.into_response());
    let sink = world.start(&database).await;
    sink.eventually_counts("a", delivered(2)).await;
    assert_eq!(delivered_traces(&receiver), [("i1".into(), Some(TRACE.into())), ("i2".into(), None)]);
}

async fn a_dead_letter_keeps_its_trace_and_a_redrive_sets_another(database: Database) {
    let (world, receiver) = (World::new(), Receiver::start().await);
    let params = format!(r#"{{"url":"{}","max_attempts":1}}"#, receiver.url());
    world.registry.put("a", "webhook", &params);
    receiver.answer(|_| StatusCode::BAD_REQUEST.into_response());
    let sink = world.start(&database).await;
    take(&sink, "i1", TRACE).await;
    let dead = |count| SinkCounts { accepted: count, dead: count, ..SinkCounts::default() };
    sink.eventually_counts("a", dead(1)).await;
    sink.take("a", "i2", "2").await;
    sink.eventually_counts("a", dead(2)).await;
    let letters = sink.letters().await;
    let traces: Vec<_> = letters.iter().map(|letter| letter.trace_id.as_str()).collect();
    assert_eq!(traces, [&TRACE[3..35], ""]);

    receiver.answer(|_| StatusCode::OK.into_response());
    let redrive = traced(OTHER, RedriveDeadLettersRequest { selection: Some(Default::default()) });
    let redriven = sink.dead_letters().redrive_dead_letters(redrive).await.expect("redriven").into_inner();
    assert_eq!(redriven.redriven, 2);
    sink.eventually_counts("a", delivered(2)).await;
    let of_the_redrive = ["i1", "i2"].map(|id| (id.to_owned(), Some(OTHER.to_owned())));
    assert_eq!(delivered_traces(&receiver), of_the_redrive);
}

/// Puts the tables back into the state in which the first version left them.
async fn an_older_outbox_is_migrated(database: Database) {
    let world = World::new();
    let sink = world.start(&database).await;
    sink.take("a", "i1", "1").await;
    sink.stop().await;
    for statement in [
        "ALTER TABLE sink_outbox DROP COLUMN traceparent",
        "ALTER TABLE sink_dead_letter DROP COLUMN traceparent",
        "DELETE FROM sink_migrations WHERE version = 'm0002_traces'",
    ] {
        database.execute(statement, []).await;
    }
    let receiver = Receiver::start().await;
    world.registry.put("a", "webhook", &format!(r#"{{"url":"{}"}}"#, receiver.url()));
    let sink = world.start(&database).await;
    take(&sink, "i2", TRACE).await;
    sink.eventually_counts("a", delivered(2)).await;
    assert_eq!(delivered_traces(&receiver), [("i1".into(), None), ("i2".into(), Some(TRACE.into()))]);
    assert_conserved(&database).await;
}
