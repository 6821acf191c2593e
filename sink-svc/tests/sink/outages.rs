//! Outages of stores.

use std::time::Duration;

use axum::response::IntoResponse as _;
use http::StatusCode;
use http::header::RETRY_AFTER;
use mesh::testing::eventually;
use proto::binding::v1::BindingState;
use proto::sink::v1::SinkCounts;
use tokio::time::Instant;

use crate::support::receiver::Receiver;
use crate::support::registry::LEASE;
use crate::support::{Database, World, assert_conserved, contract, delivered};

contract!(an_outage_loses_nothing_and_keeps_the_order, old_results_are_dead_lettered);

async fn an_outage_loses_nothing_and_keeps_the_order(database: Database) {
    let (world, mut receiver) = (World::new(), Receiver::start().await);
    let params = format!(r#"{{"url":"{}","ordered":true,"max_attempts":1}}"#, receiver.url());
    world.registry.put("a", "webhook", &params);
    let sink = world.start(&database).await;
    let mut expected = Vec::new();
    for round in 0..2 {
        for number in 0..30 {
            let result = format!("{}", round * 30 + number);
            sink.take("a", &format!("i{result}"), &result).await;
            expected.push(result);
        }
        receiver.stop().await;
        for number in 0..5 {
            let result = format!("{round}00{number}");
            sink.take("a", &format!("i{result}"), &result).await;
            expected.push(result);
        }
        sink.eventually_is("a", BindingState::Retrying).await;
        receiver.listen().await;
        sink.eventually_is("a", BindingState::Connected).await;
    }
    sink.eventually_counts("a", delivered(70)).await;
    let mut bodies = receiver.bodies();
    // A result whose answer was cut off is sent again.
    bodies.dedup();
    assert_eq!(bodies, expected);
    assert_conserved(&database).await;
}

async fn old_results_are_dead_lettered(database: Database) {
    let (world, mut receiver) = (World::new(), Receiver::start().await);
    receiver.stop().await;
    let params = format!(r#"{{"url":"{}","max_age_s":1}}"#, receiver.url());
    world.registry.put("a", "webhook", &params);
    // A binding whose parameters are not valid.
    world.registry.put("b", "webhook", r#"{"url":"http://h/","colour":"red"}"#);
    let sink = world.start(&database).await;
    sink.take("a", "i1", "1").await;
    sink.take("b", "i1", "1").await;
    let message = sink.eventually_is("b", BindingState::Retrying).await;
    assert!(message.contains("unknown field `colour`"), "{message}");
    let dead = SinkCounts { accepted: 1, dead: 1, ..SinkCounts::default() };
    sink.eventually_counts("a", dead).await;
    let letter = sink.letters().await.remove(0);
    assert!(letter.reason.starts_with("not delivered within 1 s: "), "{}", letter.reason);
    assert!(letter.reason.contains("refused"), "{}", letter.reason);
    assert_eq!((letter.attempts, letter.binding_type.as_str()), (0, "webhook"));
    let pending = SinkCounts { accepted: 1, pending: 1, ..SinkCounts::default() };
    assert_eq!(sink.counts("b").await, pending);
    assert_conserved(&database).await;
}

#[tokio::test]
async fn an_unavailable_store_does_not_slow_others() {
    let (world, database) = (World::new(), Database::sqlite());
    let (dead, alive) = (Receiver::start().await, Receiver::start().await);
    dead.answer(|_| StatusCode::SERVICE_UNAVAILABLE.into_response());
    for (id, receiver) in [("dead-1", &dead), ("dead-2", &dead), ("alive", &alive)] {
        let params = format!(r#"{{"url":"{}","max_attempts":1}}"#, receiver.url());
        world.registry.put(id, "webhook", &params);
    }
    let sink = world.start(&database).await;
    for id in ["dead-1", "dead-2", "alive"] {
        for number in 0..50 {
            sink.take(id, &format!("i{number}"), "1").await;
        }
    }
    sink.eventually_counts("alive", delivered(50)).await;
    // At first the requests in flight of both, then single ones from time to time.
    assert!(dead.requests() <= 25, "{} requests", dead.requests());
    dead.answer(|_| StatusCode::OK.into_response());
    sink.eventually_counts("dead-1", delivered(50)).await;
    sink.eventually_counts("dead-2", delivered(50)).await;
    assert!(sink.letters().await.is_empty(), "an outage does not count against results");
    assert_conserved(&database).await;
}

#[tokio::test]
async fn an_answer_to_one_binding_does_not_stop_others_at_the_same_address() {
    let (world, database, receiver) = (World::new(), Database::sqlite(), Receiver::start().await);
    for id in ["stopped", "silent", "alive"] {
        let url = receiver.url();
        world.registry.put(id, "webhook", &format!(r#"{{"url":"{url}/{id}","timeout_ms":500}}"#));
    }
    receiver.answer(|body| match body {
        r#""stopped""# => (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "600")]).into_response(),
        r#""silent""# => StatusCode::REQUEST_TIMEOUT.into_response(),
        _ => StatusCode::OK.into_response(),
    });
    let sink = world.start(&database).await;
    for id in ["stopped", "silent"] {
        sink.take(id, "i", &format!("{id:?}")).await;
        sink.eventually_is(id, BindingState::Retrying).await;
    }
    let start = Instant::now();
    for number in 0..20 {
        sink.take("alive", &format!("i{number}"), "1").await;
    }
    sink.eventually_counts("alive", delivered(20)).await;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    for id in ["stopped", "silent"] {
        assert_eq!(sink.counts(id).await.pending, 1, "{id}: it is not an attempt");
    }
}

#[tokio::test]
async fn without_its_lease_an_ordered_sink_delivers_nothing() {
    let (world, database, receiver) = (World::new(), Database::sqlite(), Receiver::start().await);
    for (id, ordered) in [("ordered", true), ("other", false)] {
        let params = format!(r#"{{"url":"{}/{id}","ordered":{ordered}}}"#, receiver.url());
        world.registry.put(id, "webhook", &params);
    }
    receiver.answer(|_| StatusCode::SERVICE_UNAVAILABLE.into_response());
    let sink = world.start(&database).await;
    for number in 0..3 {
        sink.take("ordered", &format!("i{number}"), &number.to_string()).await;
    }
    sink.eventually_is("ordered", BindingState::Retrying).await;
    world.registry.set_away(true);
    let lapsed = Instant::now() + 2 * LEASE;
    eventually("the lease has expired", async || Instant::now() > lapsed).await;
    // Another replica, which has the lease meanwhile, delivers the first.
    database.execute("UPDATE sink_outbox SET state = 1 WHERE invocation_id = 'i0'", []).await;
    database
        .execute("UPDATE sink_ledger SET delivered = delivered + 1, pending_bytes = pending_bytes - 1", [])
        .await;
    receiver.answer(|_| StatusCode::OK.into_response());
    for number in 10..13 {
        sink.take("other", &format!("i{number}"), &number.to_string()).await;
    }
    sink.eventually_counts("other", delivered(3)).await;
    let pending = SinkCounts { accepted: 3, delivered: 1, pending: 2, ..SinkCounts::default() };
    assert_eq!(sink.counts("ordered").await, pending);

    world.registry.set_away(false);
    sink.eventually_counts("ordered", delivered(3)).await;
    let bodies: Vec<_> = receiver.bodies().into_iter().filter(|body| body.len() == 1).collect();
    assert_eq!(bodies, ["1", "2"], "results that another replica has delivered are not delivered again");
    assert_conserved(&database).await;
}

#[tokio::test]
async fn an_idle_sink_reconnects_to_its_store() {
    let (world, database, mut receiver) = (World::new(), Database::sqlite(), Receiver::start().await);
    world.registry.put("a", "webhook", &format!(r#"{{"url":"{}"}}"#, receiver.url()));
    receiver.stop().await;
    let sink = world.start(&database).await;
    let message = sink.eventually_is("a", BindingState::Retrying).await;
    assert!(message.contains("refused"), "{message}");
    receiver.listen().await;
    sink.eventually_is("a", BindingState::Connected).await;
    eventually("nothing was sent", async || receiver.requests() == 0).await;
}
