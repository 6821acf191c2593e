//! Results of sinks that are gone.

use proto::binding::v1::BindingState;
use proto::sink::v1::SinkCounts;

use crate::support::receiver::Receiver;
use crate::support::{Database, World, contract};

contract!(
    results_of_a_sink_that_is_removed_die,
    results_of_a_sink_that_was_removed_meanwhile_die,
    a_sink_that_is_not_known_yet_is_waited_for,
);

fn dead(count: u64) -> SinkCounts {
    SinkCounts { accepted: count, dead: count, ..SinkCounts::default() }
}

fn pending(count: u64) -> SinkCounts {
    SinkCounts { accepted: count, pending: count, ..SinkCounts::default() }
}

async fn results_of_a_sink_that_is_removed_die(database: Database) {
    let (world, mut receiver) = (World::new(), Receiver::start().await);
    receiver.die().await;
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
    // One that comes late, from a scheduler that has not heard of it.
    sink.take("a", "late", "1").await;
    sink.eventually_counts("a", dead(21)).await;
    database.assert_conserved().await;
}

async fn results_of_a_sink_that_was_removed_meanwhile_die(database: Database) {
    let (world, mut receiver) = (World::new(), Receiver::start().await);
    receiver.die().await;
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
    database.assert_conserved().await;
}

async fn a_sink_that_is_not_known_yet_is_waited_for(database: Database) {
    let (world, receiver) = (World::new(), Receiver::start().await);
    let sink = world.start(&database).await;
    sink.take("a", "i", "1").await;
    world.registry.put("a", "webhook", &format!(r#"{{"url":"{}"}}"#, receiver.url()));
    sink.eventually_counts("a", crate::support::delivered(1)).await;
}
