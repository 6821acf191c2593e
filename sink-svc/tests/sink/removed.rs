//! Results of removed sinks.

use axum::response::IntoResponse as _;
use http::StatusCode;
use proto::binding::v1::BindingState;
use proto::deadletter::v1::RedriveDeadLettersRequest;
use proto::sink::v1::SinkCounts;

use crate::support::receiver::Receiver;
use crate::support::{Database, World, assert_conserved, contract, delivered};

contract!(
    results_of_a_removed_sink_are_dead_lettered,
    results_of_a_sink_removed_during_downtime_are_dead_lettered,
    results_wait_for_a_sink_that_is_not_known_yet,
    a_dead_letter_of_a_removed_sink_stays,
    a_corrected_sink_delivers_pending_results,
);

fn dead(count: u64) -> SinkCounts {
    SinkCounts { accepted: count, dead: count, ..SinkCounts::default() }
}

fn pending(count: u64) -> SinkCounts {
    SinkCounts { accepted: count, pending: count, ..SinkCounts::default() }
}

async fn results_of_a_removed_sink_are_dead_lettered(database: Database) {
    let (world, mut receiver) = (World::new(), Receiver::start().await);
    receiver.stop().await;
    world.registry.put("a", "webhook", &format!(r#"{{"url":"{}"}}"#, receiver.url()));
    let sink = world.start(&database).await;
    for number in 0..20 {
        sink.take("a", &format!("i{number}"), "1").await;
    }
    sink.eventually_is("a", BindingState::Retrying).await;
    world.registry.remove("a");
    sink.eventually_counts("a", dead(20)).await;
    let letters = sink.letters().await;
    assert!(letters.iter().all(|letter| letter.reason == "its sink was removed"));
    // A late result, from a scheduler that does not know of the removal yet.
    sink.take("a", "late", "1").await;
    sink.eventually_counts("a", dead(21)).await;
    assert_conserved(&database).await;
}

async fn results_of_a_sink_removed_during_downtime_are_dead_lettered(database: Database) {
    let (world, mut receiver) = (World::new(), Receiver::start().await);
    receiver.stop().await;
    for id in ["a", "b"] {
        world.registry.put(id, "webhook", &format!(r#"{{"url":"{}"}}"#, receiver.url()));
    }
    let sink = world.start(&database).await;
    sink.take("a", "i", "1").await;
    sink.take("b", "i", "1").await;
    sink.eventually_is("a", BindingState::Retrying).await;
    sink.stop().await;
    world.registry.remove("a");
    let sink = world.start(&database).await;
    sink.eventually_counts("a", dead(1)).await;
    assert_eq!(sink.counts("b").await, pending(1));
    let letter = sink.letters().await.remove(0);
    assert_eq!((letter.reason.as_str(), letter.binding_type.as_str()), ("its sink was removed", "webhook"));
    assert_conserved(&database).await;
}

async fn results_wait_for_a_sink_that_is_not_known_yet(database: Database) {
    let (world, receiver) = (World::new(), Receiver::start().await);
    let sink = world.start(&database).await;
    sink.take("a", "i", "1").await;
    world.registry.put("a", "webhook", &format!(r#"{{"url":"{}"}}"#, receiver.url()));
    sink.eventually_counts("a", delivered(1)).await;
}

async fn a_dead_letter_of_a_removed_sink_stays(database: Database) {
    let (world, receiver) = (World::new(), Receiver::start().await);
    receiver.answer(|_| StatusCode::BAD_REQUEST.into_response());
    for id in ["a", "b"] {
        let params = format!(r#"{{"url":"{}","max_attempts":1}}"#, receiver.url());
        world.registry.put(id, "webhook", &params);
    }
    let sink = world.start(&database).await;
    for id in ["a", "b"] {
        sink.take(id, "i", "1").await;
        sink.eventually_counts(id, dead(1)).await;
    }
    receiver.answer(|_| StatusCode::OK.into_response());
    world.registry.remove("a");
    let request = RedriveDeadLettersRequest::default();
    let answer = sink.dead_letters().redrive_dead_letters(request).await.expect("an answer").into_inner();
    assert_eq!((answer.redriven, answer.failures.len()), (1, 1));
    let letters = sink.letters().await;
    assert_eq!((letters.len(), letters[0].binding_id.as_str()), (1, "a"));
    assert_eq!(answer.failures[0].id, letters[0].id);
    assert_eq!(answer.failures[0].reason, "its sink was removed");
    assert_eq!(letters[0].reason, "answered 400 Bad Request", "the dead letter is unchanged");
    sink.eventually_counts("b", delivered(1)).await;
    assert_conserved(&database).await;
}

async fn a_corrected_sink_delivers_pending_results(database: Database) {
    let (world, mut wrong, right) = (World::new(), Receiver::start().await, Receiver::start().await);
    let params =
        |receiver: &Receiver, more| format!(r#"{{"url":"{}","max_attempts":1{more}}}"#, receiver.url());
    world.registry.put("a", "webhook", &params(&wrong, ""));
    let sink = world.start(&database).await;
    wrong.answer(|_| StatusCode::NOT_FOUND.into_response());
    sink.take("a", "i0", "0").await;
    sink.eventually_counts("a", dead(1)).await;
    wrong.stop().await;
    sink.take("a", "i1", "1").await;
    sink.take("a", "i2", "2").await;
    sink.eventually_is("a", BindingState::Retrying).await;

    world.registry.put("a", "webhook", &params(&right, r#","ordered":true"#));
    let counts = SinkCounts { accepted: 3, delivered: 2, dead: 1, ..SinkCounts::default() };
    sink.eventually_counts("a", counts).await;
    let request = RedriveDeadLettersRequest::default();
    sink.dead_letters().redrive_dead_letters(request).await.expect("an answer");
    sink.eventually_counts("a", delivered(3)).await;
    assert_eq!(right.bodies(), ["1", "2", "0"]);
    assert_conserved(&database).await;
}
