//! Stores that are away for a while.

use axum::response::IntoResponse as _;
use http::StatusCode;
use mesh::testing::eventually;
use proto::binding::v1::BindingState;
use proto::sink::v1::SinkCounts;

use crate::support::receiver::Receiver;
use crate::support::{Database, World, contract, delivered};

contract!(an_outage_loses_nothing_and_keeps_the_order, what_waits_for_too_long_dies);

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
        receiver.die().await;
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
    // One whose answer was cut off is sent again.
    bodies.dedup();
    assert_eq!(bodies, expected);
    database.assert_conserved().await;
}

async fn what_waits_for_too_long_dies(database: Database) {
    let (world, mut receiver) = (World::new(), Receiver::start().await);
    receiver.die().await;
    let params = format!(r#"{{"url":"{}","max_age_s":1}}"#, receiver.url());
    world.registry.put("a", "webhook", &params);
    // One of which the kind knows no more than that it is wrong.
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
    let waits = SinkCounts { accepted: 1, pending: 1, ..SinkCounts::default() };
    assert_eq!(sink.counts("b").await, waits);
    database.assert_conserved().await;
}

#[tokio::test]
async fn a_store_that_is_away_slows_no_other() {
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
    // At once at most what was on its way of both, and then one now and then.
    assert!(dead.asked() <= 25, "{} requests", dead.asked());
    dead.answer(|_| StatusCode::OK.into_response());
    sink.eventually_counts("dead-1", delivered(50)).await;
    sink.eventually_counts("dead-2", delivered(50)).await;
    assert!(sink.letters().await.is_empty(), "that it was away is not their fault");
    database.assert_conserved().await;
}

#[tokio::test]
async fn an_idle_sink_finds_its_store_again() {
    let (world, database, mut receiver) = (World::new(), Database::sqlite(), Receiver::start().await);
    world.registry.put("a", "webhook", &format!(r#"{{"url":"{}"}}"#, receiver.url()));
    receiver.die().await;
    let sink = world.start(&database).await;
    let message = sink.eventually_is("a", BindingState::Retrying).await;
    assert!(message.contains("refused"), "{message}");
    receiver.listen().await;
    sink.eventually_is("a", BindingState::Connected).await;
    eventually("nothing was sent", async || receiver.asked() == 0).await;
}
