//! Several sinks on one database.

use futures::future::join_all;
use mesh::testing::eventually;
use proto::binding::v1::BindingState;
use proto::sink::v1::GetSinkStatusRequest;

use crate::support::receiver::Receiver;
use crate::support::{Database, World, assert_conserved, delivered};

#[tokio::test]
async fn results_are_delivered_by_the_holder_and_each_replica_answers_for_all() {
    let (world, database, receiver) = (World::new(), Database::postgres().await, Receiver::start().await);
    world.registry.put("a", "webhook", &format!(r#"{{"url":"{}"}}"#, receiver.url()));
    let replicas = [world.start(&database).await, world.start(&database).await];
    eventually("a replica holds it", async || world.registry.holder("a").is_some()).await;
    let holder = world.registry.holder("a").expect("a holder");
    let [one, other] = &replicas;
    let (holder, other) = if one.address() == holder { (one, other) } else { (other, one) };

    let calls = (0..100).map(|number| {
        let sink = if number % 2 == 0 { holder } else { other };
        // Each is sent twice.
        async move {
            for sink in [sink, other] {
                sink.take("a", &format!("i{number}"), "1").await;
            }
        }
    });
    join_all(calls).await;
    for sink in [holder, other] {
        sink.eventually_counts("a", delivered(100)).await;
        sink.eventually_is("a", BindingState::Connected).await;
    }
    let request = GetSinkStatusRequest { ids: vec!["a".into()], wait: true };
    let status =
        other.sinks().get_sink_status(request).await.expect("statuses").into_inner().statuses.remove(0);
    assert!(
        status.status.is_some_and(|status| status.last_activity_ms > 0),
        "the holder reports its activity"
    );
    assert_eq!(status.counts, Some(delivered(100)));
    assert_eq!(receiver.bodies().len(), 100);
    assert_conserved(&database).await;
}

#[tokio::test]
async fn results_of_a_killed_replica_are_delivered_by_another() {
    let (world, database, mut receiver) = (World::new(), Database::postgres().await, Receiver::start().await);
    receiver.stop().await;
    world.registry.put("a", "webhook", &format!(r#"{{"url":"{}"}}"#, receiver.url()));
    let first = world.start(&database).await;
    first.eventually_is("a", BindingState::Retrying).await;
    for number in 0..10 {
        first.take("a", &format!("i{number}"), "1").await;
    }
    first.kill();
    receiver.listen().await;
    let second = world.start(&database).await;
    second.eventually_counts("a", delivered(10)).await;
    assert_eq!(receiver.bodies().len(), 10);
    assert_conserved(&database).await;
}
