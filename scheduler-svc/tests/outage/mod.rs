//! The registry is away, and the scheduler goes on with its catalog; the scheduler was away, and waits for its workers.

use std::time::Duration;

use mesh::testing::eventually;
use mesh::{Error, Reason};
use proto::registry::v1::{Function, Metadata};
use proto::scheduler::v1::invocations_client::InvocationsClient;
use scheduler_svc::Config;
use tokio::time::Instant;
use tonic::Request;

use crate::support::{Stage, function, invocation_of, memory, patient};

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

#[tokio::test(start_paused = true)]
async fn after_a_start_invocations_wait_for_workers_to_join() {
    let stage = Stage::start_with(Config { join_grace_ms: 5000, ..patient() }).await;
    let revision = stage.registry.put(function("f"));
    let began = Instant::now();
    let (invoked, mut worker) = tokio::join!(stage.invoke(invocation_of("f", revision)), async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        stage.hidden_worker("w", 1000).await
    });
    assert_eq!(invoked.expect("invoked").worker, "w");
    assert!((3000..3500).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());

    // The worker that has joined is too small; one that is not may come within the two seconds that are left.
    let metadata = Some(Metadata { capacity_kb: 2000, ..Metadata::default() });
    let revision = stage.registry.put(Function { metadata, ..function("large") });
    assert_eq!(refusal_of(&stage, "large", revision).await, "no_valid_workers");
    assert!((5000..5500).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());

    worker.leave();
    stage.wait_for_workers(&[]).await;
    let late = Instant::now();
    assert_eq!(refusal_of(&stage, "f", revision).await, "No worker available");
    assert!(late.elapsed() < Duration::from_millis(100), "{:?}: the grace is over", late.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_caller_with_a_short_deadline_learns_that_no_worker_has_joined() {
    let stage = Stage::start_with(Config { join_grace_ms: 5000, ..patient() }).await;
    let revision = stage.registry.put(function("f"));
    let began = Instant::now();
    let mut request = Request::new(invocation_of("f", revision));
    request.set_timeout(Duration::from_secs(1));
    let refused = InvocationsClient::new(stage.channel.clone()).invoke(request).await.expect_err("no worker");
    assert_eq!(Error::from(refused).reason, Reason::NoWorker);
    assert!((900..1000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
}

async fn refusal_of(stage: &Stage, name: &str, revision: u64) -> String {
    stage.invoke(invocation_of(name, revision)).await.expect_err("refused").message
}
