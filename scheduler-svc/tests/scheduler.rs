//! The scheduler through its gRPC, with a registry and workers that are real servers.

mod logs;
mod measurements;
mod outage;
mod policies;
mod receipts;
mod revisions;
mod simulate;
mod support;
mod tunnel;

use std::time::Duration;

use bytes::Bytes;
use mesh::deadline::Deadline;
use mesh::testing::eventually;
use mesh::{Caller, Error, Reason};
use proto::registry::v1::{Binding, Code, Function, Metadata};
use proto::scheduler::v1::cluster_client::ClusterClient;
use proto::scheduler::v1::invocations_client::InvocationsClient;
use proto::scheduler::v1::invoke_response::Outcome;
use proto::scheduler::v1::scheduling::Language;
use proto::scheduler::v1::{
    AwaitCodeRequest, CodeProblem, InvokeRequest, InvokeResponse, Report, Scheduling,
};
use scheduler_svc::Config;
use support::{Behaviour, HASH, Stage, function, invocation_of, memory};

fn reason(outcome: Result<InvokeResponse, Error>) -> Reason {
    outcome.expect_err("an error").reason
}

#[tokio::test]
async fn an_invocation_reaches_the_worker_and_its_result_comes_back() {
    let stage = Stage::start().await;
    let worker = stage.worker("w", 1000).await;
    let revision = stage.registry.put(function("hello"));
    let request =
        InvokeRequest { args: Bytes::from_static(b"{\"a\" : 1}"), ..invocation_of("hello", revision) };
    let response = stage.invoke(request).await.expect("invoked");
    assert_eq!(response.outcome, Some(Outcome::Result(Bytes::from_static(b"\"w\""))));
    assert_eq!(response.worker, "w");
    stage.invoke(invocation_of("hello", 0)).await.expect("invoked");

    let received = worker.received();
    assert_eq!(received[0].invocation_id, response.invocation_id);
    assert_eq!(received[0].args, "{\"a\" : 1}");
    assert_eq!(received[1].args, "{}", "absent arguments");
    assert_eq!(received[0].code.as_ref().expect("has code").hash, HASH[..]);
    assert_ne!(received[0].invocation_id, received[1].invocation_id);
}

#[tokio::test]
async fn arguments_may_be_as_large_as_a_request_over_rest() {
    let stage = Stage::start().await;
    let workers = [stage.worker("w", 1000).await, stage.hidden_worker("behind a NAT", 2000).await];
    let revision = stage.registry.put(function("f"));
    let args = Bytes::from(format!("{:?}", "x".repeat(8_000_000 - 2)));
    for worker in workers.iter().rev() {
        let request = InvokeRequest { args: args.clone(), ..invocation_of("f", revision) };
        assert_eq!(stage.invoke(request).await.expect("invoked").worker, worker.name);
        assert!(worker.received()[0].args == args, "they arrive as they were sent");
        worker.report(Report { draining: true, ..memory(0) }).await;
        eventually("it drains", || async { stage.metric("funless_scheduler_worker_ready") < 2.0 }).await;
    }
}

#[tokio::test]
async fn unknown_functions_are_not_found() {
    let stage = Stage::start().await;
    assert_eq!(
        reason(stage.invoke(invocation_of("f", 0)).await),
        Reason::FunctionNotFound,
        "nothing there yet"
    );
    let _worker = stage.worker("w", 1000).await;
    let revision = stage.registry.put(Function { owner: "ann".into(), ..function("hers") });
    assert_eq!(reason(stage.invoke(invocation_of("nothing", revision)).await), Reason::FunctionNotFound);
    let mut client = InvocationsClient::new(stage.channel.clone());
    for (caller, reaches) in [("ann", true), ("bob", false)] {
        let request = Caller::Subject(caller.into()).attach(tonic::Request::new(invocation_of("hers", 0)));
        let outcome = client.invoke(request).await.map_err(|status| Error::from(status).reason);
        assert_eq!(
            outcome.map(drop),
            if reaches { Ok(()) } else { Err(Reason::FunctionNotFound) },
            "{caller}"
        );
    }
}

#[tokio::test]
async fn scripts_are_looked_up_by_name() {
    let stage = Stage::start().await;
    let _worker = stage.worker("w", 1000).await;
    stage.registry.put(function("f"));
    let revision = stage.registry.put_script("known", "- default: []");
    for (script, expected) in [("known", Reason::ScriptUnusable), ("unknown", Reason::ScriptNotFound)] {
        let scheduling = Some(Scheduling { language: Some(Language::AppScript(script.into())) });
        let error = stage
            .invoke(InvokeRequest { scheduling, ..invocation_of("f", revision) })
            .await
            .expect_err(script);
        assert_eq!(error.reason, expected);
        assert!(script == "known" || error.message.contains("unknown"), "{error}");
    }
}

#[tokio::test]
async fn the_worker_with_the_most_memory_is_chosen() {
    let stage = Stage::start().await;
    let small = stage.worker("small", 100).await;
    let large = stage.worker("large", 500).await;
    let revision = stage.registry.put(function("f"));
    assert_eq!(stage.invoke(invocation_of("f", revision)).await.expect("invoked").worker, "large");
    large.report(memory(50)).await;
    eventually("the report counts", || async {
        stage.invoke(invocation_of("f", 0)).await.expect("invoked").worker == "small"
    })
    .await;
    small.report(memory(63)).await;
    eventually("nobody has the memory", || async {
        let outcome = stage.invoke(invocation_of("f", 0)).await;
        outcome.is_err_and(|error| error.reason == Reason::NoValidWorkers)
    })
    .await;
}

#[tokio::test]
async fn reservations_count_before_they_are_reported() {
    let stage = Stage::start().await;
    let (a, b) = (stage.worker("a", 100).await, stage.worker("b", 99).await);
    let revision = stage.registry.put(function("f"));
    a.behave(Behaviour::Hang);
    b.behave(Behaviour::Hang);
    let mut calls = Vec::new();
    for expected in [(1, 0), (1, 1)] {
        let (channel, request) = (stage.channel.clone(), invocation_of("f", revision));
        calls.push(tokio::spawn(async move { InvocationsClient::new(channel).invoke(request).await }));
        eventually("it runs", || async { (a.running(), b.running()) == expected }).await;
    }
    assert_eq!(reason(stage.invoke(invocation_of("f", 0)).await), Reason::NoValidWorkers);
    // A caller that goes away stops the run and gives the place back.
    calls.remove(0).abort();
    eventually("a has stopped", || async { a.running() == 0 }).await;
    a.behave(Behaviour::Answer);
    assert_eq!(stage.invoke(invocation_of("f", 0)).await.expect("invoked").worker, "a");
}

#[tokio::test]
async fn memory_is_free_again_as_soon_as_an_invocation_has_ended() {
    let stage = Stage::start().await;
    let worker = stage.worker("w", 1 << 20).await;
    stage.registry.put(function("f"));
    let metadata = Some(Metadata { capacity_kb: 1 << 20, ..Metadata::default() });
    let revision = stage.registry.put(Function { metadata, ..function("all of it") });
    worker.behave(Behaviour::Hold);
    let call = tokio::spawn({
        let channel = stage.channel.clone();
        async move { InvocationsClient::new(channel).invoke(invocation_of("f", revision)).await }
    });
    eventually("it runs", || async { worker.running() == 1 }).await;
    // This report is the last one: by it, a guest holds a megabyte.
    let mut report = memory((1 << 20) - (1 << 10));
    report.load.as_mut().expect("a load").memory_guests = 1 << 20;
    worker.report(report).await;
    eventually("the report counts", || async {
        stage.metric("funless_scheduler_worker_reservable_bytes") == f64::from((1 << 30) - (1 << 20))
    })
    .await;
    worker.let_go(2);
    call.await.expect("no panic").expect("invoked");
    stage.invoke(invocation_of("all of it", revision)).await.expect("nothing runs there any more");
}

#[tokio::test]
async fn without_workers_none_is_available() {
    let stage = Stage::start().await;
    let revision = stage.registry.put(function("f"));
    let error = stage.invoke(invocation_of("f", revision)).await.expect_err("no workers");
    assert_eq!((error.reason, error.message.as_str()), (Reason::NoWorker, "No worker available"));
    let mut worker = stage.worker("w", 100).await;
    stage.invoke(invocation_of("f", 0)).await.expect("invoked");
    worker.leave();
    stage.wait_for_workers(&[]).await;
    assert_eq!(reason(stage.invoke(invocation_of("f", 0)).await), Reason::NoWorker);
}

#[tokio::test]
async fn unreachable_and_full_workers_are_skipped() {
    let stage = Stage::start().await;
    let mut best = stage.worker("best", 500).await;
    let second = stage.worker("second", 400).await;
    let third = stage.worker("third", 300).await;
    let revision = stage.registry.put(function("f"));
    best.stop_serving();
    second.behave(Behaviour::Overloaded);
    assert_eq!(stage.invoke(invocation_of("f", revision)).await.expect("invoked").worker, "third");
    third.behave(Behaviour::Overloaded);
    let error = stage.invoke(invocation_of("f", 0)).await.expect_err("all full");
    assert_eq!(error.reason, Reason::Overloaded, "{}: {error}", third.name);
}

#[tokio::test]
async fn a_run_that_may_have_started_is_repeated_only_if_idempotent() {
    for (idempotent, expected) in [(false, Err(Reason::WorkerLost)), (true, Ok("second".to_owned()))] {
        let stage = Stage::start().await;
        let mut best = stage.worker("best", 500).await;
        let second = stage.worker("second", 400).await;
        let metadata = Some(Metadata { idempotent, capacity_kb: 64, ..Metadata::default() });
        let revision = stage.registry.put(Function { metadata, ..function("f") });
        best.behave(Behaviour::Hang);
        let call = tokio::spawn({
            let channel = stage.channel.clone();
            async move { InvocationsClient::new(channel).invoke(invocation_of("f", revision)).await }
        });
        eventually("it runs", || async { best.running() == 1 }).await;
        best.stop_serving();
        let outcome = call.await.expect("no panic");
        let outcome = outcome.map(|response| response.into_inner().worker);
        assert_eq!(outcome.map_err(|status| Error::from(status).reason), expected);
        assert_eq!(second.received().len(), usize::from(idempotent));
    }
}

#[tokio::test]
async fn a_run_that_was_lost_is_not_reported_as_not_started() {
    let stage = Stage::start().await;
    let mut only = stage.worker("only", 500).await;
    let metadata = Some(Metadata { idempotent: true, capacity_kb: 64, ..Metadata::default() });
    let revision = stage.registry.put(Function { metadata, ..function("f") });
    only.behave(Behaviour::Hang);
    let call = tokio::spawn({
        let channel = stage.channel.clone();
        async move { InvocationsClient::new(channel).invoke(invocation_of("f", revision)).await }
    });
    eventually("it runs", || async { only.running() == 1 }).await;
    only.stop_serving();
    let lost = call.await.expect("no panic").expect_err("lost");
    assert_eq!(Error::from(lost).reason, Reason::WorkerLost);
}

#[tokio::test]
async fn a_failed_run_is_not_repeated() {
    let stage = Stage::start().await;
    let best = stage.worker("best", 500).await;
    let second = stage.worker("second", 400).await;
    let revision = stage.registry.put(function("f"));
    best.behave(Behaviour::Trap);
    assert_eq!(reason(stage.invoke(invocation_of("f", revision)).await), Reason::GuestTrapped);
    assert!(second.received().is_empty());
}

#[tokio::test]
async fn an_update_between_lookup_and_run_is_invisible_to_the_caller() {
    let stage = Stage::start().await;
    let worker = stage.worker("w", 500).await;
    let revision = stage.registry.put(function("f"));
    worker.behave(Behaviour::Forgot);
    let call = tokio::spawn({
        let channel = stage.channel.clone();
        async move { InvocationsClient::new(channel).invoke(invocation_of("f", revision)).await }
    });
    eventually("the old code was asked for", || async { worker.received().len() == 1 }).await;
    let code = Code { hash: Bytes::from_static(&[8; 32]), ..Code::default() };
    stage.registry.put(Function { code: Some(code), ..function("f") });
    call.await.expect("no panic").expect("the new code ran");
    assert_eq!(worker.received()[1].code.as_ref().expect("has code").hash, [8; 32][..]);
}

#[tokio::test]
async fn silent_workers_are_removed_and_draining_ones_get_nothing() {
    let config = Config { report_interval_ms: 20, ..Config::default() };
    let stage = Stage::start_with(config).await;
    let _silent = stage.worker("silent", 500).await;
    stage.wait_for_workers(&[]).await;

    let stage = Stage::start().await;
    let draining = stage.worker("draining", 500).await;
    let other = stage.worker("other", 100).await;
    let revision = stage.registry.put(function("f"));
    draining.report(Report { draining: true, ..memory(500) }).await;
    eventually("the other takes it", || async {
        stage.invoke(invocation_of("f", revision)).await.expect("invoked").worker == other.name
    })
    .await;
}

#[tokio::test]
async fn a_worker_replaces_another_of_its_name() {
    let stage = Stage::start().await;
    let mut old = stage.worker("w", 500).await;
    let new = stage.worker("w", 400).await;
    let revision = stage.registry.put(function("f"));
    stage.invoke(invocation_of("f", revision)).await.expect("invoked");
    assert_eq!((old.received().len(), new.received().len()), (0, 1));
    old.leave();
    stage.invoke(invocation_of("f", revision)).await.expect("the new one stays");
    stage.wait_for_workers(&["w"]).await;
}

#[tokio::test]
async fn awaiting_code_names_the_workers_that_have_it_and_that_failed() {
    let stage = Stage::start().await;
    let mut client = ClusterClient::new(stage.channel.clone());
    let min_revision = stage.registry.put(function("f"));
    let request = move || AwaitCodeRequest { hash: Bytes::from_static(HASH), min_revision };
    let nobody = client.await_code(request()).await.expect("answers at once").into_inner();
    assert!(nobody.ready.is_empty() && nobody.failed.is_empty());

    let (good, bad) = (stage.worker("good", 1).await, stage.worker("bad", 1).await);
    let late = client.await_code(Deadline::after(Duration::from_millis(200)).attach(request())).await;
    let late = late.expect("answers before the deadline").into_inner();
    assert_eq!(late.failed.len(), 2, "{late:?}");

    let waiting = tokio::spawn(async move { client.await_code(request()).await });
    good.report(Report { code_ready: vec![Bytes::from_static(HASH)], ..memory(1) }).await;
    let problem = CodeProblem { hash: Bytes::from_static(HASH), message: "no memory".into() };
    bad.report(Report { code_failed: vec![problem], ..memory(1) }).await;
    let answer = waiting.await.expect("no panic").expect("answers").into_inner();
    assert_eq!(answer.ready, ["good"]);
    assert_eq!((answer.failed[0].worker.as_str(), answer.failed[0].message.as_str()), ("bad", "no memory"));
}

#[tokio::test]
async fn code_that_is_superseded_is_not_awaited() {
    let stage = Stage::start().await;
    let _worker = stage.worker("w", 1).await;
    let min_revision = stage.registry.put(function("f"));
    let request = AwaitCodeRequest { hash: Bytes::from_static(HASH), min_revision };
    let mut client = ClusterClient::new(stage.channel.clone());
    let waiting = tokio::spawn(async move { client.await_code(request).await });
    let code = Code { hash: Bytes::from_static(&[8; 32]), ..Code::default() };
    stage.registry.put(Function { code: Some(code), ..function("f") });
    let answer = waiting.await.expect("no panic").expect("answers").into_inner();
    assert!(answer.ready.is_empty() && answer.failed.is_empty(), "{answer:?}");
}

#[tokio::test]
async fn an_incomplete_hello_is_refused() {
    use proto::scheduler::v1::join_request::Message;
    use proto::scheduler::v1::membership_client::MembershipClient;
    use proto::scheduler::v1::{Hello, JoinRequest, WorkerIdentity};

    let stage = Stage::start().await;
    let identity = |name: &str, address: &str| WorkerIdentity {
        name: name.into(),
        address: address.into(),
        ..WorkerIdentity::default()
    };
    let hello = |identity| Message::Hello(Hello { identity, report: None });
    for (message, expected) in [
        (Message::Report(Report::default()), "expected a hello"),
        (hello(None), "expected an identity"),
        (hello(Some(identity("", "http://h:1"))), "expected a name"),
        (hello(Some(identity("w", "h:1"))), "is not an endpoint"),
    ] {
        let requests = tokio_stream::once(JoinRequest { message: Some(message) });
        let refused = MembershipClient::new(stage.channel.clone()).join(requests).await.expect_err(expected);
        assert!(refused.message().contains(expected), "{refused:?}");
        assert_eq!(Error::from(refused).reason, Reason::BadRequest);
    }
}

fn function_with_sinks(name: &str) -> Function {
    let sink = |id: &str| Binding { id: id.into(), r#type: "couchdb".into(), params: "{}".into() };
    Function { sinks: vec![sink("s1"), sink("s2")], creator: "ann".into(), ..function(name) }
}

#[tokio::test]
async fn a_result_is_delivered_to_the_sinks_before_the_caller_gets_it() {
    let stage = Stage::start().await;
    let worker = stage.worker("w", 1000).await;
    let sink = stage.start_sink();
    stage.registry.put(function("without"));
    let revision = stage.registry.put(function_with_sinks("with"));
    // The sink service is away for a moment, and says once that the connection broke.
    sink.refuse(Error::unavailable("starting"));
    sink.refuse(Error::new(Reason::ConnectionLost, "broken"));
    stage.invoke(invocation_of("without", revision)).await.expect("invoked");
    let by_id = InvokeRequest {
        function_id: "id-of-with".into(),
        invocation_id: "i1".into(),
        ..InvokeRequest::default()
    };
    stage.invoke(by_id).await.expect("invoked");
    let taken = sink.taken();
    assert_eq!(taken.len(), 1, "results without sinks go nowhere");
    assert_eq!((taken[0].invocation_id.as_str(), taken[0].result.as_ref()), ("i1", &b"\"w\""[..]));
    assert_eq!((taken[0].function.as_str(), taken[0].owner.as_str()), ("with", "ann"));
    assert_eq!(taken[0].sinks, ["s1", "s2"]);
    assert_eq!(worker.received().len(), 2, "the function itself ran once");
}

#[tokio::test]
async fn the_caller_learns_of_a_result_that_was_not_taken() {
    let stage = Stage::start().await;
    let worker = stage.worker("w", 1000).await;
    let revision = stage.registry.put(function_with_sinks("f"));
    let mut client = InvocationsClient::new(stage.channel.clone());
    let request = Deadline::after(Duration::from_millis(500)).attach(invocation_of("f", revision));
    let away = Error::from(client.invoke(request).await.expect_err("nobody is there"));
    assert_eq!(away.reason, Reason::ResultNotTaken, "{away}");

    let sink = stage.start_sink();
    sink.refuse(Error::overloaded("the outbox is full", Duration::from_secs(1)));
    let full = stage.invoke(invocation_of("f", revision)).await.expect_err("it is full");
    assert_eq!(full.reason, Reason::ResultNotTaken);
    assert!(full.message.contains("the outbox is full") && full.message.contains("ran"), "{full}");
    assert!(!full.not_started(), "it may not be taken for something that can be repeated blindly");

    for bad in ["with space", "\0", &"x".repeat(129)] {
        let request = InvokeRequest { invocation_id: bad.to_owned(), ..invocation_of("f", 0) };
        assert_eq!(reason(stage.invoke(request).await), Reason::InvalidField, "{bad:?}");
    }

    worker.behave(Behaviour::Trap);
    assert_eq!(reason(stage.invoke(invocation_of("f", 0)).await), Reason::GuestTrapped);
    assert!(sink.taken().is_empty());
}
