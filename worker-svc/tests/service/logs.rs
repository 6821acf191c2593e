//! Logs of functions, read through gRPC.

use futures::StreamExt as _;
use mesh::Reason;
use mesh::config::TelemetryConfig;
use proto::log::v1::{LogLine, TailLogsRequest, TailLogsResponse};
use proto::worker::v1::ExecuteRequest;
use proto::worker::v1::logs_client::LogsClient;
use tonic::Streaming;

use crate::support::guests::{funless, funless_with};
use crate::support::{Worker, assert_failed};

/// Logs its arguments.
fn logging() -> String {
    funless(
        "",
        "(call $input (i32.const 1024))
         (call $log (i32.const 1024) (local.get $len))
         (call $respond (i32.const 1024) (local.get $len))
         (i32.const 0)",
    )
}

/// An invocation of the function with this id.
fn invocation(worker: &Worker, function_id: &str, args: &str) -> ExecuteRequest {
    ExecuteRequest { function_id: function_id.into(), ..worker.request(&logging(), args) }
}

async fn log(worker: &Worker, function_id: &str, args: &str) {
    worker.execute(invocation(worker, function_id, args)).await.expect("a result");
}

async fn tail(worker: &Worker, request: TailLogsRequest) -> Streaming<TailLogsResponse> {
    let logs = LogsClient::new(worker.channel()).tail_logs(request).await;
    logs.expect("a stream").into_inner()
}

fn of(function_id: &str) -> TailLogsRequest {
    TailLogsRequest { function_id: function_id.into(), ..TailLogsRequest::default() }
}

fn texts(lines: &[LogLine]) -> Vec<&str> {
    lines.iter().map(|line| &*line.text).collect()
}

#[tokio::test]
async fn a_reader_gets_only_the_lines_of_its_function() {
    let worker = Worker::start().await;
    for (function_id, args) in [("f", "1"), ("g", "2"), ("f", "3")] {
        log(&worker, function_id, args).await;
    }
    let answer: Vec<_> = tail(&worker, of("f")).await.collect().await;
    let [Ok(response)] = &answer[..] else { panic!("one message: {answer:?}") };
    assert_eq!(texts(&response.lines), ["1", "3"]);
    let line = &response.lines[0];
    assert_eq!((&*line.invocation_id, &*line.worker, &*line.trace_id), ("invocation-1", "worker-1", ""));
    assert!(line.at_us > 1_700_000_000_000_000, "a moment in microseconds");

    let mut latest = tail(&worker, TailLogsRequest { lines: 1, ..of("f") }).await;
    assert_eq!(texts(&latest.message().await.expect("a message").expect("a message").lines), ["3"]);
    let unnamed = LogsClient::new(worker.channel()).tail_logs(of("")).await.expect_err("no id");
    assert_eq!(mesh::Error::from(unnamed).reason, Reason::InvalidField);
    assert!(worker.metric("funless_worker_log_bytes", None) > 0.0);
}

#[tokio::test]
async fn a_follower_gets_new_lines_until_the_worker_drains() {
    let worker = Worker::start().await;
    log(&worker, "f", "1").await;
    let mut lines = tail(&worker, TailLogsRequest { follow: true, ..of("f") }).await;
    assert_eq!(texts(&lines.message().await.expect("a message").expect("a message").lines), ["1"]);
    for args in ["2", "3"] {
        log(&worker, "g", "0").await;
        log(&worker, "f", args).await;
        assert_eq!(texts(&lines.message().await.expect("a message").expect("a message").lines), [args]);
    }
    worker.host.draining.cancel();
    assert!(lines.message().await.expect("a good end").is_none());
}

/// Also if the log is full, and if the code comes from an artifact.
#[tokio::test]
async fn a_trap_is_logged_with_the_functions_that_were_running() {
    const DIVIDE: &str = "$_ZN5shout6divide17h0123456789abcdefE";
    let fields = format!(
        "(func {DIVIDE} (param i32) (result i32) (i32.div_s (i32.const 1) (local.get 0)))
         (func $compute (param i32) (result i32) (call {DIVIDE} (local.get 0)))"
    );
    let wat = funless_with(&fields, "(call $log (i32.const 0) (i32.const 9)) (call $compute (i32.const 0))");
    let mut worker = Worker::start_with(|config| config.log_bytes = 4).await;
    let request = ExecuteRequest { function_id: "f".into(), ..worker.request(&wat, "") };
    for _ in 0..2 {
        let words = "the function trapped: integer divide by zero, in shout::divide, called by compute, \
                     called by <function 9>";
        assert_failed(worker.execute(request.clone()).await, Reason::GuestTrapped, words);
        let response = tail(&worker, of("f")).await.message().await.expect("a message").expect("a message");
        let lines = texts(&response.lines);
        assert_eq!(lines[2..], [words, "    at shout::divide", "    at compute", "    at <function 9>"]);
        assert!(lines[1].starts_with("the rest of this invocation's log is dropped"), "{lines:?}");
        let (registry, cache) = worker.stop().await;
        worker = Worker::start_in(registry, cache, |config| config.log_bytes = 4).await;
    }

    let nameless = funless("", "unreachable");
    let request = ExecuteRequest { function_id: "g".into(), ..worker.request(&nameless, "") };
    let error = worker.execute(request).await.expect_err("it traps");
    assert_eq!(error.message, "the function trapped: wasm `unreachable` instruction executed");
    let response = tail(&worker, of("g")).await.message().await.expect("a message").expect("a message");
    assert_eq!(texts(&response.lines), [error.message]);
}

#[tokio::test]
async fn lines_have_their_trace_id() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    // Otherwise this process ignores trace contexts.
    let quiet = TelemetryConfig { log: "off".into(), ..TelemetryConfig::default() };
    let _telemetry = mesh::telemetry::init("test", &quiet).expect("nobody else here does it");
    let worker = Worker::start().await;
    let mut request = tonic::Request::new(invocation(&worker, "f", "1"));
    request.set_timeout(std::time::Duration::from_secs(20));
    let traceparent = format!("00-{TRACE}-b7ad6b7169203331-01").parse().expect("a value");
    request.metadata_mut().insert("traceparent", traceparent);
    worker.client().execute(request).await.expect("a result");
    log(&worker, "f", "2").await;
    let wanted = TailLogsRequest { trace_id: TRACE.into(), ..of("f") };
    let response = tail(&worker, wanted).await.message().await.expect("a message").expect("a message");
    assert_eq!(texts(&response.lines), ["1"]);
    assert_eq!(response.lines[0].trace_id, TRACE);
}
