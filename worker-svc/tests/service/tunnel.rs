//! A worker that schedulers cannot reach.

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

struct Fixture {
    worker: Worker,
    scheduler: Scheduler,
    _dir: TempDir,
}

/// A worker that has joined through a tunnel.
async fn fixture(change: impl FnOnce(&mut Config)) -> Fixture {
    let dir = tempfile::tempdir().expect("a directory");
    let scheduler = Scheduler::start(dir.path().join("scheduler")).await;
    let endpoint = scheduler.endpoint();
    let worker = Worker::start_with(|config| {
        config.advertise = Advertise::None;
        config.schedulers = vec![endpoint];
        change(config);
    })
    .await;
    let fixture = Fixture { worker, scheduler, _dir: dir };
    fixture.has_joined(1).await;
    fixture
}

impl Fixture {
    async fn has_joined(&self, times: usize) {
        eventually("it has joined", || async { self.scheduler.received.lock().hellos.len() >= times }).await;
        eventually("it is ready", || async { self.worker.service.readiness.missing().is_empty() }).await;
    }

    /// A channel through the latest tunnel.
    fn channel(&self) -> Channel {
        self.scheduler.received.lock().tunnels.last().expect("a tunnel").clone()
    }

    async fn execute(&self, request: impl tonic::IntoRequest<ExecuteRequest>) -> Result<Outcome, Error> {
        let mut client = ExecutionClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        outcome(client.execute(request).await)
    }
}

#[tokio::test]
async fn it_joins_without_an_address_and_serves_calls_through_its_tunnel() {
    let fixture = fixture(|config| config.output_bytes = 6 << 20).await;
    {
        let received = fixture.scheduler.received.lock();
        let identity = received.hellos[0].identity.as_ref().expect("an identity");
        assert_eq!(identity.address, "");
        let tunnels: Vec<_> = received.tunnels.iter().map(|way| way.endpoint().to_string()).collect();
        assert_eq!(tunnels, [format!("tunnel:{}", identity.id)], "one, opened before it joined");
    }
    assert_eq!(fixture.execute(fixture.worker.request(&echo(), "[1, 2]")).await, result("[1, 2]"));
    let large = funless(
        "",
        "(drop (memory.grow (i32.const 100))) (memory.fill (i32.const 0) (i32.const 0x31) (i32.const 5242880))
         (call $respond (i32.const 0) (i32.const 5242880)) (i32.const 0)",
    );
    let Outcome::Result(large) = fixture.execute(fixture.worker.request(&large, "")).await.expect("a result")
    else {
        panic!("no result");
    };
    assert!(large.len() == 5 << 20 && large.iter().all(|byte| *byte == b'1'));
    let spinning =
        with_limits(fixture.worker.request(&spin(), ""), Limits { timeout_ms: 20, ..Limits::default() });
    assert_failed(fixture.execute(spinning).await, Reason::DeadlineExceeded, "its time limit of 20 ms");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_or_a_cancelled_call_stops_the_guest() {
    let fixture = fixture(|_| {}).await;
    let spinning = fixture.worker.request(&spin(), "");
    let call = Deadline::after(Duration::from_millis(200)).attach(spinning.clone());
    assert_failed(fixture.execute(call).await, Reason::DeadlineExceeded, "");
    eventually("it has stopped", || async { fixture.worker.running() == 0.0 }).await;

    let mut client = ExecutionClient::new(fixture.channel());
    let calling = tokio::spawn(async move { client.execute(spinning).await });
    eventually("it runs", || async { fixture.worker.running() == 1.0 }).await;
    calling.abort();
    eventually("it has stopped", || async { fixture.worker.running() == 0.0 }).await;
    assert_eq!(fixture.worker.metric("funless_worker_guest_memory_bytes", None), 0.0);
}

#[tokio::test]
async fn calls_through_the_tunnel_need_the_secret() {
    let secret = Secret::new("open sesame");
    let worker_secret = Some(secret.clone());
    let mut fixture = fixture(|config| config.server.secret = worker_secret).await;
    let request = fixture.worker.request(&respond("1"), "");
    assert_failed(fixture.execute(request.clone()).await, Reason::PermissionDenied, "services of the mesh");
    fixture.scheduler.secret = Some(secret);
    fixture.scheduler.restart().await;
    fixture.has_joined(2).await;
    assert_eq!(fixture.execute(request).await, result("1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_scheduler_stops_its_guests_and_gets_a_new_tunnel_after_its_restart() {
    let mut fixture = fixture(|_| {}).await;
    let mut client = ExecutionClient::new(fixture.channel());
    let request = fixture.worker.request(&spin(), "");
    let calling = tokio::spawn(async move { outcome(client.execute(request).await) });
    eventually("it runs", || async { fixture.worker.running() == 1.0 }).await;
    fixture.scheduler.stop().await;
    assert_failed(calling.await.expect("no panic"), Reason::ConnectionLost, "tunnel:");
    eventually("it has stopped", || async { fixture.worker.running() == 0.0 }).await;
    let request = fixture.worker.request(&respond("1"), "");
    assert_failed(fixture.execute(request.clone()).await, Reason::Unavailable, "it is closed");
    fixture.scheduler.restart().await;
    fixture.has_joined(2).await;
    assert_eq!(fixture.execute(request).await, result("1"));
}

#[tokio::test]
async fn a_closed_tunnel_is_reopened_and_the_worker_joins_again() {
    let fixture = fixture(|_| {}).await;
    fixture.scheduler.received.lock().tunnels.clear();
    fixture.has_joined(2).await;
    let request = fixture.worker.request(&respond("1"), "");
    assert_eq!(fixture.execute(request).await, result("1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draining_worker_finishes_invocations_and_does_not_rejoin() {
    let fixture = fixture(|_| {}).await;
    let mut client = ExecutionClient::new(fixture.channel());
    let spinning =
        with_limits(fixture.worker.request(&spin(), ""), Limits { timeout_ms: 1500, ..Limits::default() });
    let calling = tokio::spawn(async move { outcome(client.execute(spinning).await) });
    eventually("it runs", || async { fixture.worker.running() == 1.0 }).await;
    fixture.worker.host.draining.cancel();
    eventually("it reports that", || async { fixture.scheduler.has_received(|report| report.draining) })
        .await;
    let late = fixture.execute(fixture.worker.request(&respond("1"), "")).await.expect_err("it stops");
    assert!(late.not_started(), "{late}");
    fixture.worker.service.tasks.stop(Duration::from_secs(10)).await;
    assert_failed(calling.await.expect("no panic"), Reason::DeadlineExceeded, "its time limit of 1500 ms");
    let received = fixture.scheduler.received.lock();
    assert_eq!((received.hellos.len(), received.tunnels.len()), (1, 1));
}
