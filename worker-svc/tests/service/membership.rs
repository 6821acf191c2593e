//! The worker's membership at schedulers.

use mesh::Reason;
use mesh::testing::eventually;
use tempfile::TempDir;

use crate::support::guests::{compile, respond};
use crate::support::registry::Registry;
use crate::support::scheduler::Scheduler;
use crate::support::{Worker, assert_failed, cache_dir, request};

async fn start() -> (Worker, Scheduler, TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let scheduler = Scheduler::start(dir.path().join("scheduler")).await;
    let endpoint = scheduler.endpoint();
    let worker = Worker::start_with(|config| {
        config.tag = "edge".into();
        config.labels = [("zone".into(), "edge-1".into())].into();
        config.schedulers = vec![endpoint];
        config.total_memory_bytes = Some(1 << 30);
    })
    .await;
    (worker, scheduler, dir)
}

#[tokio::test]
async fn it_joins_with_its_identity_and_reports_periodically() {
    let (worker, scheduler, _dir) = start().await;
    eventually("it reports", || async { scheduler.received.lock().reports.len() >= 5 }).await;
    eventually("it is ready", || async { worker.service.readiness.missing().is_empty() }).await;
    let received = scheduler.received.lock();
    let identity = received.hellos[0].identity.clone().expect("an identity");
    assert_eq!((identity.name.as_str(), identity.tag.as_str()), ("worker-1", "edge"));
    assert_eq!(identity.labels, [("zone".into(), "edge-1".into())].into());
    assert_eq!(identity.address, "local:worker");
    assert!(!identity.id.is_empty());
    let load = received.reports[4].load.clone().expect("a load");
    assert!(load.memory_total == 1 << 30 && load.memory_available > 0 && load.cpus > 0);
}

#[tokio::test]
async fn it_reports_prepared_failed_and_removed_code() {
    let (worker, scheduler, _dir) = start().await;
    let good = worker.registry.put_function("good", compile(&respond("1"))).to_bytes();
    let bad = worker.registry.put_function("bad", "broken".into()).to_bytes();
    eventually("the good one is ready", || async {
        scheduler.has_received(|report| report.code_ready.contains(&good))
    })
    .await;
    eventually("the bad one has failed", || async {
        scheduler.has_received(|report| {
            report.code_failed.iter().any(|problem| problem.hash == bad && problem.message.contains("magic"))
        })
    })
    .await;
    worker.registry.delete_function("good");
    eventually("the good one is dropped", || async {
        scheduler.has_received(|report| report.code_dropped.contains(&good))
    })
    .await;
}

#[tokio::test]
async fn it_joins_again_after_the_scheduler_restarts() {
    let (worker, mut scheduler, _dir) = start().await;
    let code = worker.registry.put_function("f", compile(&respond("1"))).to_bytes();
    eventually("it is ready", || async {
        scheduler.has_received(|report| report.code_ready.contains(&code))
    })
    .await;
    scheduler.stop().await;
    eventually("it is not ready alone", || async { worker.service.readiness.missing() == ["scheduler"] })
        .await;
    scheduler.restart().await;
    eventually("it has joined again", || async { scheduler.received.lock().hellos.len() == 2 }).await;
    eventually("it is ready", || async { worker.service.readiness.missing().is_empty() }).await;
    let received = scheduler.received.lock();
    let [first, second] = &received.hellos[..] else { panic!("two hellos") };
    assert_eq!(first.identity, second.identity);
    let report = second.report.as_ref().expect("a report");
    assert_eq!(report.code_ready, [code], "a new stream starts with all code");
}

#[tokio::test]
async fn it_stays_ready_and_runs_known_code_while_the_registry_is_away() {
    let (mut worker, scheduler, _dir) = start().await;
    let code = worker.registry.put_function("f", compile(&respond("1")));
    eventually("it is prepared", || async {
        scheduler.has_received(|report| report.code_ready.contains(&code.to_bytes()))
    })
    .await;
    let elsewhere = Registry::start().await;
    std::mem::replace(&mut worker.registry, elsewhere).kill();
    let unreachable = || worker.metric("funless_registry_unreachable_seconds", None);
    eventually("the outage is seen", async || unreachable() > 0.0).await;
    assert_eq!(worker.service.readiness.missing(), Vec::<&str>::new());
    worker.execute(request(code, "")).await.expect("it has the code");
}

#[tokio::test]
async fn it_reports_draining_and_refuses_invocations() {
    let (worker, scheduler, _dir) = start().await;
    let request = worker.request(&respond("1"), "");
    eventually("it reports", || async { !scheduler.received.lock().reports.is_empty() }).await;
    worker.host.draining.cancel();
    eventually("it reports that", || async { scheduler.has_received(|report| report.draining) }).await;
    assert_failed(worker.execute(request).await, Reason::Unavailable, "the worker is draining");
}

#[tokio::test]
async fn it_is_ready_with_one_of_two_schedulers() {
    let dir = tempfile::tempdir().expect("a directory");
    let scheduler = Scheduler::start(dir.path().join("scheduler")).await;
    let endpoints = vec![crate::support::nowhere(), scheduler.endpoint()];
    let change = |config: &mut worker_svc::Config| config.schedulers = endpoints;
    let worker = Worker::start_in(Registry::start().await, cache_dir(), change).await;
    eventually("it is ready", || async { worker.service.readiness.missing().is_empty() }).await;
}
