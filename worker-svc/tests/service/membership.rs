//! How the worker belongs to the mesh.

use mesh::Reason;
use mesh::testing::eventually;
use tempfile::TempDir;

use crate::support::guests::{compile, respond};
use crate::support::registry::Registry;
use crate::support::scheduler::Scheduler;
use crate::support::{Worker, assert_failed, cache_dir};

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
async fn it_says_who_it_is_and_goes_on_reporting() {
    let (worker, scheduler, _dir) = start().await;
    eventually("it reports", || async { scheduler.heard.lock().reports.len() >= 5 }).await;
    eventually("it is ready", || async { worker.service.readiness.missing().is_empty() }).await;
    let heard = scheduler.heard.lock();
    let identity = heard.hellos[0].identity.clone().expect("an identity");
    assert_eq!((identity.name.as_str(), identity.tag.as_str()), ("worker-1", "edge"));
    assert_eq!(identity.labels, [("zone".into(), "edge-1".into())].into());
    assert_eq!(identity.address, "local:worker");
    assert!(!identity.id.is_empty());
    let load = heard.reports[4].load.clone().expect("a load");
    assert!(load.memory_total == 1 << 30 && load.memory_available > 0 && load.cpus > 0);
}

#[tokio::test]
async fn it_says_what_it_has_prepared() {
    let (worker, scheduler, _dir) = start().await;
    let good = worker.registry.put_function("good", compile(&respond("1"))).to_bytes();
    let bad = worker.registry.put_function("bad", "broken".into()).to_bytes();
    eventually("the good one is ready", || async {
        scheduler.heard_of(|report| report.code_ready.contains(&good))
    })
    .await;
    eventually("the bad one has failed", || async {
        scheduler.heard_of(|report| {
            report.code_failed.iter().any(|problem| problem.hash == bad && problem.message.contains("magic"))
        })
    })
    .await;
    worker.registry.delete_function("good");
    eventually("the good one is dropped", || async {
        scheduler.heard_of(|report| report.code_dropped.contains(&good))
    })
    .await;
}

#[tokio::test]
async fn it_joins_again_after_the_scheduler_restarts() {
    let (worker, mut scheduler, _dir) = start().await;
    let code = worker.registry.put_function("f", compile(&respond("1"))).to_bytes();
    eventually("it is ready", || async { scheduler.heard_of(|report| report.code_ready.contains(&code)) })
        .await;
    scheduler.stop().await;
    eventually("it is not ready alone", || async { worker.service.readiness.missing() == ["scheduler"] })
        .await;
    scheduler.restart().await;
    eventually("it has joined again", || async { scheduler.heard.lock().hellos.len() == 2 }).await;
    eventually("it is ready", || async { worker.service.readiness.missing().is_empty() }).await;
    let heard = scheduler.heard.lock();
    let [first, second] = &heard.hellos[..] else { panic!("two hellos") };
    assert_eq!(first.identity, second.identity);
    let report = second.report.as_ref().expect("a report");
    assert_eq!(report.code_ready, [code], "who is new hears all");
}

#[tokio::test]
async fn it_says_that_it_stops_and_takes_no_more() {
    let (worker, scheduler, _dir) = start().await;
    let request = worker.request(&respond("1"), "");
    eventually("it reports", || async { !scheduler.heard.lock().reports.is_empty() }).await;
    worker.host.draining.cancel();
    eventually("it says so", || async { scheduler.heard_of(|report| report.draining) }).await;
    assert_failed(worker.execute(request).await, Reason::Unavailable, "the worker stops");
}

#[tokio::test]
async fn one_of_two_schedulers_is_enough() {
    let dir = tempfile::tempdir().expect("a directory");
    let scheduler = Scheduler::start(dir.path().join("scheduler")).await;
    let endpoints = vec![crate::support::nowhere(), scheduler.endpoint()];
    let change = |config: &mut worker_svc::Config| config.schedulers = endpoints;
    let worker = Worker::start_in(Registry::start().await, cache_dir(), change).await;
    eventually("it is ready", || async { worker.service.readiness.missing().is_empty() }).await;
}
