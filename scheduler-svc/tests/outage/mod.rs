//! The registry is away: the scheduler goes on with its catalog.

use std::time::Duration;

use mesh::testing::eventually;
use tokio::time::Instant;

use crate::support::{Stage, function, invocation_of, memory};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn an_outage_of_an_hour_stops_no_invocation() {
    let stage = Stage::start().await;
    // Through a tunnel, since sockets would disturb simulated time.
    let worker = stage.hidden_worker("w", 1000).await;
    let revision = stage.registry.put(function("f"));
    stage.invoke(invocation_of("f", revision)).await.expect("invoked");
    let unreachable = || stage.metric("funless_registry_unreachable_seconds");
    assert_eq!(unreachable(), 0.0);

    stage.registry.set_away(true);
    let began = Instant::now();
    while began.elapsed() < 60 * MINUTE {
        worker.report(memory(1000)).await;
        let invoked = stage.invoke(invocation_of("f", revision)).await;
        assert!(invoked.is_ok(), "after {:?}: {invoked:?}", began.elapsed());
        assert_eq!(stage.readiness.missing(), Vec::<&str>::new(), "it stays ready");
        tokio::time::sleep(MINUTE).await;
    }
    assert!((3590.0..=3601.0).contains(&unreachable()), "{}", unreachable());
    let next = stage.registry.put(function("g"));
    stage.registry.set_away(false);
    worker.report(memory(1000)).await;
    stage.invoke(invocation_of("g", next)).await.expect("it follows the registry again");
    assert_eq!(unreachable(), 0.0);
}

#[tokio::test]
async fn a_scheduler_that_starts_during_an_outage_is_not_ready() {
    let stage = Stage::start_with_registry(|registry| registry.set_away(true)).await;
    eventually("the outage is seen", async || stage.metric("funless_registry_unreachable_seconds") > 0.0)
        .await;
    assert_eq!(stage.readiness.missing(), ["registry"]);
    stage.registry.set_away(false);
    eventually("it is ready", async || stage.readiness.missing().is_empty()).await;
}
