//! Workers that nobody can reach.

use std::time::Duration;

use bytes::Bytes;
use mesh::deadline::Deadline;
use mesh::testing::eventually;
use mesh::{Caller, Error, Reason};
use proto::scheduler::v1::invocations_client::InvocationsClient;
use proto::scheduler::v1::invoke_response::Outcome;
use proto::scheduler::v1::membership_client::MembershipClient;
use proto::scheduler::v1::tunnel_request::Message;
use proto::scheduler::v1::{InvokeRequest, InvokeResponse, JoinRequest, Report, TunnelRequest};
use tokio::task::JoinHandle;

use crate::reason;
use crate::support::{Behaviour, FakeWorker, Stage, function, invocation_of, memory};

/// Invokes `f`, and waits until so many run on `worker`.
async fn running_on(
    stage: &Stage,
    worker: &FakeWorker,
    count: usize,
) -> JoinHandle<Result<InvokeResponse, Error>> {
    let channel = stage.channel.clone();
    let running = tokio::spawn(async move {
        let call = Deadline::after(Duration::from_secs(20)).attach(invocation_of("f", 0));
        Ok(InvocationsClient::new(channel).invoke(call).await?.into_inner())
    });
    eventually("it runs", || async { worker.running() == count }).await;
    running
}

async fn stage() -> Stage {
    let stage = Stage::start().await;
    let revision = stage.registry.put(function("f"));
    assert_eq!(reason(stage.invoke(invocation_of("f", revision)).await), Reason::NoWorker);
    stage
}

#[tokio::test]
async fn an_invocation_reaches_a_worker_through_its_tunnel() {
    let stage = stage().await;
    let worker = stage.hidden_worker("w", 1000).await;
    let request = InvokeRequest { args: Bytes::from(vec![b' '; 1 << 20]), ..invocation_of("f", 0) };
    let response = stage.invoke(request.clone()).await.expect("invoked");
    assert_eq!(response.outcome, Some(Outcome::Result(Bytes::from_static(b"\"w\""))));
    assert_eq!(worker.received()[0].args, request.args);
    worker.behave(Behaviour::Trap);
    assert_eq!(reason(stage.invoke(invocation_of("f", 0)).await), Reason::GuestTrapped);
}

#[tokio::test]
async fn a_run_ends_with_its_deadline_or_its_caller() {
    let stage = stage().await;
    let worker = stage.hidden_worker("w", 1000).await;
    worker.behave(Behaviour::Hang);
    let call = Deadline::after(Duration::from_millis(100)).attach(invocation_of("f", 0));
    let late = InvocationsClient::new(stage.channel.clone()).invoke(call).await.expect_err("late");
    assert_eq!(Error::from(late).reason, Reason::DeadlineExceeded);
    eventually("the run has ended", || async { worker.running() == 0 }).await;
    running_on(&stage, &worker, 1).await.abort();
    eventually("the run has ended", || async { worker.running() == 0 }).await;
}

#[tokio::test]
async fn a_worker_without_address_or_tunnel_is_refused() {
    let stage = stage().await;
    let refused = stage.join("w", "", 1000).await.expect_err("nobody reaches it");
    assert_eq!(refused.reason, Reason::Unavailable);
    assert!(refused.message.contains("a tunnel that this worker has opened"), "{refused}");
    let mut worker = stage.hidden_worker("w", 1000).await;
    stage.join("another", "", 1000).await.expect_err("the tunnel leads elsewhere");
    worker.stop_serving();
    eventually("the tunnel counts no more", || async { stage.join("w", "", 1000).await.is_err() }).await;
}

#[tokio::test]
async fn a_broken_tunnel_loses_what_ran_and_other_calls_go_elsewhere() {
    let stage = stage().await;
    let mut best = stage.hidden_worker("best", 500).await;
    let second = stage.worker("second", 400).await;
    best.behave(Behaviour::Hang);
    let running = running_on(&stage, &best, 1).await;
    best.stop_serving();
    let lost = running.await.expect("no panic").expect_err("lost");
    assert_eq!(lost.reason, Reason::WorkerLost, "{lost}");
    assert_eq!(stage.invoke(invocation_of("f", 0)).await.expect("invoked").worker, second.name);

    // Once both are open again it is used again.
    best.behave(Behaviour::Answer);
    stage.reopen_tunnel(&mut best).await;
    let _reports = stage.join("best", "", 500).await.expect("let in");
    assert_eq!(stage.invoke(invocation_of("f", 0)).await.expect("invoked").worker, "best");
}

#[tokio::test]
async fn a_draining_worker_finishes_what_runs() {
    let stage = stage().await;
    let mut worker = stage.hidden_worker("w", 500).await;
    worker.behave(Behaviour::Hold);
    let running = running_on(&stage, &worker, 1).await;
    worker.report(Report { draining: true, ..memory(500) }).await;
    worker.tunnel().draining.cancel();
    eventually("nothing new is sent there", || async {
        // What is sent before it is known would wait.
        let call = Deadline::after(Duration::from_millis(200)).attach(invocation_of("f", 0));
        let refused = InvocationsClient::new(stage.channel.clone()).invoke(call).await;
        refused.is_err_and(|status| Error::from(status).reason == Reason::NoWorker)
    })
    .await;
    assert!(!running.is_finished());
    worker.let_go(1);
    running.await.expect("no panic").expect("it is finished");
    (&mut worker.tunnel().serving).await.expect("nothing comes any more");
}

#[tokio::test]
async fn a_draining_scheduler_keeps_tunnels_for_its_invocations() {
    let stage = stage().await;
    let mut worker = stage.hidden_worker("w", 500).await;
    worker.behave(Behaviour::Hold);
    let first = running_on(&stage, &worker, 1).await;
    stage.drain();
    worker.is_out().await;
    let second = running_on(&stage, &worker, 2).await;
    assert!(!worker.tunnel().serving.is_finished());
    worker.let_go(2);
    for running in [first, second] {
        running.await.expect("no panic").expect("it is finished");
    }
    (&mut worker.tunnel().serving).await.expect("it ends with the last of them");
}

#[tokio::test]
async fn tunnels_are_for_services_and_begin_with_the_workers_id() {
    let stage = stage().await;
    let mut client = MembershipClient::new(stage.channel.clone());
    let ann = Caller::Admin("ann".into());
    let tunnel = ann.attach(tonic::Request::new(tokio_stream::once(worker_id("w"))));
    let join = ann.attach(tonic::Request::new(tokio_stream::once(JoinRequest::default())));
    for refused in
        [client.tunnel(tunnel).await.expect_err("a user"), client.join(join).await.expect_err("a user")]
    {
        assert_eq!(Error::from(refused).reason, Reason::PermissionDenied);
    }
    let data = TunnelRequest { message: Some(Message::Data(Bytes::from_static(b"PRI"))) };
    for (first, expected) in [
        (data, "expected the worker's id"),
        (TunnelRequest::default(), "expected the worker's id"),
        (worker_id(""), "1 to 128 bytes"),
        (worker_id(&"x".repeat(129)), "1 to 128 bytes"),
    ] {
        let refused = client.tunnel(tokio_stream::once(first)).await.expect_err(expected);
        assert!(refused.message().contains(expected), "{refused:?}");
        assert_eq!(Error::from(refused).reason, Reason::BadRequest);
    }
}

fn worker_id(id: &str) -> TunnelRequest {
    TunnelRequest { message: Some(Message::WorkerId(id.into())) }
}
