//! The log of a function from all workers.

use std::time::Duration;

use mesh::deadline::Deadline;
use mesh::testing::eventually;
use mesh::{Caller, Error, Reason};
use proto::log::v1::{TailLogsRequest, TailLogsResponse};
use proto::registry::v1::Function;
use proto::scheduler::v1::logs_client::LogsClient;
use tonic::{Request, Status, Streaming};

use crate::support::{Stage, function};

/// What is asked of the function `f`.
fn of_f() -> TailLogsRequest {
    TailLogsRequest { module: "_".into(), function: "f".into(), ..TailLogsRequest::default() }
}

fn followed() -> TailLogsRequest {
    TailLogsRequest { follow: true, ..of_f() }
}

async fn tail(
    stage: &Stage,
    request: impl tonic::IntoRequest<TailLogsRequest>,
) -> Result<Streaming<TailLogsResponse>, Status> {
    Ok(LogsClient::new(stage.channel.clone()).tail_logs(request).await?.into_inner())
}

async fn next(responses: &mut Streaming<TailLogsResponse>) -> (Vec<String>, Vec<String>) {
    let response = responses.message().await.expect("no error").expect("a message");
    (response.lines.into_iter().map(|line| line.text).collect(), response.unreachable)
}

/// A stage with the function `f`, of which the scheduler knows.
async fn stage() -> Stage {
    let stage = Stage::start().await;
    stage.registry.put(function("f"));
    eventually("the function is known", || async { tail(&stage, of_f()).await.is_ok() }).await;
    stage
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[tokio::test]
async fn the_backlog_of_all_workers_is_ordered_by_time() {
    let stage = stage().await;
    let (a, b) = (stage.worker("a", 1000).await, stage.worker("b", 1000).await);
    for (worker, at, text) in [(&a, 1, "1"), (&a, 4, "4"), (&b, 2, "2"), (&b, 3, "3")] {
        worker.logs().write(at, text);
    }
    let mut all = tail(&stage, of_f()).await.expect("a log");
    assert_eq!(next(&mut all).await, (texts(&["1", "2", "3", "4"]), vec![]));
    assert!(all.message().await.expect("a good end").is_none(), "nobody follows");
    let latest = TailLogsRequest { lines: 3, ..of_f() };
    assert_eq!(next(&mut tail(&stage, latest).await.expect("a log")).await.0, texts(&["2", "3", "4"]));
    let asked = a.logs().asked.lock().last().cloned().expect("it was asked");
    assert_eq!(asked.function_id, "id-of-f", "names can be taken again");
}

#[tokio::test]
async fn workers_that_do_not_answer_are_named() {
    let stage = stage().await;
    let (a, mut b) = (stage.worker("a", 1000).await, stage.worker("b", 1000).await);
    let c = stage.worker("c", 1000).await;
    a.logs().write(1, "1");
    b.stop_serving();
    *c.logs().hangs.lock() = true;
    let request = Deadline::after(Duration::from_secs(2)).attach(of_f());
    let mut log = tail(&stage, request).await.expect("a log");
    assert_eq!(next(&mut log).await, (texts(&["1"]), texts(&["b", "c"])));
}

#[tokio::test]
async fn new_lines_are_streamed_from_workers_that_join_later_too() {
    let stage = stage().await;
    let a = stage.worker("a", 1000).await;
    a.logs().write(1, "1");
    let mut log = tail(&stage, followed()).await.expect("a log");
    assert_eq!(next(&mut log).await.0, texts(&["1"]));
    a.logs().write(2, "2");
    assert_eq!(next(&mut log).await.0, texts(&["2"]));
    let b = stage.worker("b", 1000).await;
    // Without a socket in between, nothing moves unless it is asked for.
    let asking = tokio::spawn(async move { (next(&mut log).await.0, log) });
    eventually("it listens to the new one", || async { b.logs().listeners() == 1 }).await;
    b.logs().write(3, "3");
    let (lines, log) = asking.await.expect("no panic");
    assert_eq!(lines, texts(&["3"]));
    drop(log);
    eventually("it listens to nobody", || async { a.logs().listeners() + b.logs().listeners() == 0 }).await;
}

#[tokio::test]
async fn only_callers_that_may_change_a_function_read_its_log() {
    let stage = Stage::start().await;
    stage.registry.put(Function { owner: "ann".into(), ..function("f") });
    let as_user = |name: &str| Caller::Subject(name.into()).attach(Request::new(of_f()));
    eventually("the function is known", || async { tail(&stage, as_user("ann")).await.is_ok() }).await;
    let refused = tail(&stage, as_user("bob")).await.expect_err("it is not his");
    assert_eq!(Error::from(refused).reason, Reason::FunctionNotFound);

    stage.registry.put(Function { creator: "ann".into(), ..function("f") });
    eventually("the module is shared", || async {
        let refused = tail(&stage, as_user("bob")).await.expect_err("he has not created it");
        Error::from(refused).reason == Reason::PermissionDenied
    })
    .await;
    tail(&stage, as_user("ann")).await.expect("she has created it");
    let as_admin = Caller::Admin("root".into()).attach(Request::new(of_f()));
    tail(&stage, as_admin).await.expect("administrators may");
}

#[tokio::test]
async fn following_ends_when_the_function_is_deleted_or_the_scheduler_drains() {
    let stage = stage().await;
    let _worker = stage.worker("a", 1000).await;
    let mut log = tail(&stage, followed()).await.expect("a log");
    next(&mut log).await;
    stage.registry.delete("id-of-f");
    assert!(log.message().await.expect("a good end").is_none());

    stage.registry.put(function("f"));
    eventually("the function is known", || async { tail(&stage, of_f()).await.is_ok() }).await;
    let mut log = tail(&stage, followed()).await.expect("a log");
    next(&mut log).await;
    stage.drain();
    assert!(log.message().await.expect("a good end").is_none());
}
