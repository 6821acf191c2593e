//! A worker that nobody can reach.

use std::time::Duration;

use mesh::auth::Secret;
use mesh::deadline::Deadline;
use mesh::testing::eventually;
use mesh::{Channel, Error, MAX_MESSAGE_BYTES, Reason};
use proto::registry::v1::Limits;
use proto::worker::v1::ExecuteRequest;
use proto::worker::v1::execute_response::Outcome;
use proto::worker::v1::execution_client::ExecutionClient;
use tempfile::TempDir;
use worker_svc::{Advertise, Config};

use crate::support::guests::{echo, funless, respond, spin};
use crate::support::scheduler::Scheduler;
use crate::support::{Worker, assert_failed, outcome, result, with_limits};

struct Stage {
    worker: Worker,
    scheduler: Scheduler,
    _dir: TempDir,
}

/// A worker that has joined through a tunnel.
async fn stage(change: impl FnOnce(&mut Config)) -> Stage {
    let dir = tempfile::tempdir().expect("a directory");
    let scheduler = Scheduler::start(dir.path().join("scheduler")).await;
    let endpoint = scheduler.endpoint();
    let worker = Worker::start_with(|config| {
        config.advertise = Advertise::Nowhere;
        config.schedulers = vec![endpoint];
        change(config);
    })
    .await;
    let stage = Stage { worker, scheduler, _dir: dir };
    stage.has_joined(1).await;
    stage
}

impl Stage {
    async fn has_joined(&self, times: usize) {
        eventually("it has joined", || async { self.scheduler.heard.lock().hellos.len() >= times }).await;
        eventually("it is ready", || async { self.worker.service.readiness.missing().is_empty() }).await;
    }

    /// The way through the latest tunnel.
    fn way(&self) -> Channel {
        self.scheduler.heard.lock().tunnels.last().expect("a tunnel").clone()
    }

    async fn execute(&self, request: impl tonic::IntoRequest<ExecuteRequest>) -> Result<Outcome, Error> {
        let mut client = ExecutionClient::new(self.way()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        outcome(client.execute(request).await)
    }
}

#[tokio::test]
async fn it_joins_without_an_address_and_runs_what_comes_through_its_tunnel() {
    let stage = stage(|config| config.output_bytes = 6 << 20).await;
    {
        let heard = stage.scheduler.heard.lock();
        let identity = heard.hellos[0].identity.as_ref().expect("an identity");
        assert_eq!(identity.address, "");
        let tunnels: Vec<_> = heard.tunnels.iter().map(|way| way.endpoint().to_string()).collect();
        assert_eq!(tunnels, [format!("tunnel:{}", identity.id)], "one, opened before it joined");
    }
    assert_eq!(stage.execute(stage.worker.request(&echo(), "[1, 2]")).await, result("[1, 2]"));
    let large = funless(
        "",
        "(drop (memory.grow (i32.const 100))) (memory.fill (i32.const 0) (i32.const 0x31) (i32.const 5242880))
         (call $respond (i32.const 0) (i32.const 5242880)) (i32.const 0)",
    );
    let Outcome::Result(large) = stage.execute(stage.worker.request(&large, "")).await.expect("a result")
    else {
        panic!("no result");
    };
    assert!(large.len() == 5 << 20 && large.iter().all(|byte| *byte == b'1'));
    let spinning =
        with_limits(stage.worker.request(&spin(), ""), Limits { timeout_ms: 20, ..Limits::default() });
    assert_failed(stage.execute(spinning).await, Reason::DeadlineExceeded, "its time limit of 20 ms");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadline_and_caller_stop_the_guest() {
    let stage = stage(|_| {}).await;
    let spinning = stage.worker.request(&spin(), "");
    let call = Deadline::after(Duration::from_millis(200)).attach(spinning.clone());
    assert_failed(stage.execute(call).await, Reason::DeadlineExceeded, "");
    eventually("it has stopped", || async { stage.worker.running() == 0.0 }).await;

    let mut client = ExecutionClient::new(stage.way());
    let calling = tokio::spawn(async move { client.execute(spinning).await });
    eventually("it runs", || async { stage.worker.running() == 1.0 }).await;
    calling.abort();
    eventually("it has stopped", || async { stage.worker.running() == 0.0 }).await;
    assert_eq!(stage.worker.metric("funless_worker_guest_memory_bytes", None), 0.0);
}

#[tokio::test]
async fn the_secret_is_asked_for_in_the_tunnel_too() {
    let secret = Secret::new("open sesame");
    let worker_secret = Some(secret.clone());
    let mut stage = stage(|config| config.server.secret = worker_secret).await;
    let request = stage.worker.request(&respond("1"), "");
    assert_failed(stage.execute(request.clone()).await, Reason::PermissionDenied, "services of the mesh");
    stage.scheduler.secret = Some(secret);
    stage.scheduler.restart().await;
    stage.has_joined(2).await;
    assert_eq!(stage.execute(request).await, result("1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduler_that_is_gone_stops_its_guests_and_gets_a_new_tunnel_when_it_is_back() {
    let mut stage = stage(|_| {}).await;
    let mut client = ExecutionClient::new(stage.way());
    let request = stage.worker.request(&spin(), "");
    let calling = tokio::spawn(async move { outcome(client.execute(request).await) });
    eventually("it runs", || async { stage.worker.running() == 1.0 }).await;
    stage.scheduler.stop().await;
    assert_failed(calling.await.expect("no panic"), Reason::ConnectionLost, "tunnel:");
    eventually("it has stopped", || async { stage.worker.running() == 0.0 }).await;
    let request = stage.worker.request(&respond("1"), "");
    assert_failed(stage.execute(request.clone()).await, Reason::Unavailable, "it is closed");
    stage.scheduler.restart().await;
    stage.has_joined(2).await;
    assert_eq!(stage.execute(request).await, result("1"));
}

#[tokio::test]
async fn a_tunnel_that_ends_alone_is_opened_again_and_the_worker_joins_again() {
    let stage = stage(|_| {}).await;
    stage.scheduler.heard.lock().tunnels.clear();
    stage.has_joined(2).await;
    let request = stage.worker.request(&respond("1"), "");
    assert_eq!(stage.execute(request).await, result("1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_stops_finishes_what_runs_and_does_not_come_back() {
    let stage = stage(|_| {}).await;
    let mut client = ExecutionClient::new(stage.way());
    let spinning =
        with_limits(stage.worker.request(&spin(), ""), Limits { timeout_ms: 1500, ..Limits::default() });
    let calling = tokio::spawn(async move { outcome(client.execute(spinning).await) });
    eventually("it runs", || async { stage.worker.running() == 1.0 }).await;
    stage.worker.host.draining.cancel();
    eventually("it says so", || async { stage.scheduler.heard_of(|report| report.draining) }).await;
    let late = stage.execute(stage.worker.request(&respond("1"), "")).await.expect_err("it stops");
    assert!(late.not_started(), "{late}");
    stage.worker.service.tasks.stop(Duration::from_secs(10)).await;
    assert_failed(calling.await.expect("no panic"), Reason::DeadlineExceeded, "its time limit of 1500 ms");
    let heard = stage.scheduler.heard.lock();
    assert_eq!((heard.hellos.len(), heard.tunnels.len()), (1, 1));
}
