//! Components: handlers of HTTP requests, and commands of WASI 0.2.

use axum::Router;
use axum::response::Redirect;
use axum::routing::get;
use bytes::Bytes;
use mesh::Reason;
use mesh::egress::EgressConfig;
use mesh::receipt;
use mesh::testing::{Served, eventually};
use proto::log::v1::TailLogsRequest;
use proto::registry::v1::Limits;
use proto::worker::v1::ExecuteRequest;
use proto::worker::v1::logs_client::LogsClient;
use tokio::net::TcpListener;

use crate::support::components::{command, echo, handler, handler_with, respond};
use crate::support::{Worker, assert_failed, function_error, nowhere, request, result, with_limits};

/// Reads the status of a response to a GET of the path at address 0, or the number of the error, as the result.
const FETCH: &str = "
    (local $status i32)
    (local.set $status (call $fetch (i32.const 0) (i32.const 1)))
    (if (i32.eqz (local.get $status)) (then (local.set $status (global.get $error))))
    (i32.store8 (i32.const 100) (i32.add (i32.const 48) (i32.div_u (local.get $status) (i32.const 100))))
    (i32.store8 (i32.const 101)
      (i32.add (i32.const 48) (i32.rem_u (i32.div_u (local.get $status) (i32.const 10)) (i32.const 10))))
    (i32.store8 (i32.const 102) (i32.add (i32.const 48) (i32.rem_u (local.get $status) (i32.const 10))))
    (i32.store8 (i32.const 99) (i32.const 34))
    (i32.store8 (i32.const 103) (i32.const 34))
    (call $respond (local.get $out) (i32.const 200) (i32.const 99) (i32.const 5))";

/// Numbers of errors of `wasi:http`.
const CONNECTION_REFUSED: &str = "\"006\"";
const REQUEST_DENIED: &str = "\"015\"";

fn add(worker: &Worker, code: Bytes, args: &str) -> ExecuteRequest {
    request(worker.registry.add_code(code), args)
}

async fn log(worker: &Worker) -> Vec<String> {
    let request = TailLogsRequest { function_id: "f-1".into(), ..TailLogsRequest::default() };
    let mut logs = LogsClient::new(worker.channel()).tail_logs(request).await.expect("a stream").into_inner();
    let message = logs.message().await.expect("a message");
    message.map(|message| message.lines.into_iter().map(|line| line.text).collect()).unwrap_or_default()
}

#[tokio::test]
async fn arguments_are_the_body_of_the_request_and_the_response_is_the_result() {
    let worker = Worker::start().await;
    let echo = add(&worker, echo(), "");
    let long = format!("[\"{}\"]", "x".repeat(300_000));
    for (args, expected) in [("", "{}"), ("{\"a\":1}", "{\"a\":1}"), (&long, &long)] {
        let request = ExecuteRequest { args: Bytes::copy_from_slice(args.as_bytes()), ..echo.clone() };
        assert_eq!(worker.execute(request).await, result(expected));
    }
    assert_eq!(worker.compiled(), 1.0);
    for (status, data, expected) in [
        (200, "[1]", result("[1]")),
        (302, "\"elsewhere\"", result("\"elsewhere\"")),
        (400, "out of tea", function_error("out of tea")),
        (503, "", function_error("HTTP status 503")),
    ] {
        assert_eq!(worker.execute(add(&worker, respond(status, data), "")).await, expected, "{status}");
    }
}

#[tokio::test]
async fn a_component_that_was_compiled_is_loaded_from_disk() {
    let worker = Worker::start().await;
    let request = add(&worker, echo(), "7");
    assert_eq!(worker.execute(request.clone()).await, result("7"));
    let (registry, cache) = worker.stop().await;
    let again = Worker::start_in(registry, cache, |config| config.registry = nowhere()).await;
    assert_eq!(again.execute(request).await, result("7"));
    assert_eq!((again.found("disk"), again.compiled()), (1.0, 0.0));
}

/// Components that fail, each with the reason and the message of its error.
fn failing() -> Vec<(Bytes, Reason, &'static str)> {
    let recurse = "(func $deep (param i64) (result i64)
        (i64.add (call $deep (i64.add (local.get 0) (i64.const 1))) (i64.const 1)))";
    let hog = "(loop $again
        (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable";
    let endless = "(local $stream i32)
        (call $body-write (call $begin (local.get $out) (i32.const 200)) (i32.const 60000))
        (local.set $stream (call $ok))
        (loop $again
          (call $write-all (local.get $stream) (i32.const 0) (i32.const 65536)) (br $again))";
    vec![
        (handler("", "(loop $again (br $again))"), Reason::DeadlineExceeded, "its time limit of 300 ms"),
        (handler("", hog), Reason::GuestMemoryLimit, "more memory than its limit of 8388608 bytes"),
        (handler("", endless), Reason::GuestOutputLimit, "the function's output is larger than its limit"),
        (
            handler_with("", "", recurse, "(drop (call $deep (i64.const 0)))"),
            Reason::GuestStackLimit,
            "its stack limit",
        ),
        (handler("", "unreachable"), Reason::GuestTrapped, "wasm `unreachable` instruction executed"),
        (handler("", ""), Reason::GuestBadResponse, "the function returned no response"),
        (respond(200, "tea"), Reason::GuestBadResponse, "the function's response is not valid JSON: "),
        (respond(200, ""), Reason::GuestBadResponse, "response is not valid JSON: EOF"),
        // Its handles are limited, as what it passes to the host is.
        (
            handler("", "(loop $again (drop (call $fields)) (br $again))"),
            Reason::GuestTrapped,
            "the function trapped: ",
        ),
    ]
}

#[tokio::test]
async fn each_failure_has_its_reason_and_leaves_nothing() {
    let worker = Worker::start().await;
    for (code, reason, words) in failing() {
        let timeout_ms = if reason == Reason::DeadlineExceeded { 300 } else { 0 };
        let limits = Limits { memory_bytes: 8 << 20, timeout_ms, ..Limits::default() };
        let request = with_limits(add(&worker, code, ""), limits);
        assert_failed(worker.execute(request).await, reason, words);
    }
    eventually("all memory is free", || async {
        worker.metric("funless_worker_guest_memory_bytes", None) == 0.0 && worker.running() == 0.0
    })
    .await;
    assert_eq!(worker.execute(add(&worker, echo(), "1")).await, result("1"));
}

#[tokio::test]
async fn a_caller_that_leaves_stops_a_component() {
    let worker = Worker::start().await;
    let request = add(&worker, handler("", "(loop $again (br $again))"), "");
    let mut client = worker.client();
    let call = tokio::spawn(async move { client.execute(request).await });
    eventually("it runs", || async { worker.running() == 1.0 }).await;
    call.abort();
    eventually("it is stopped", || async { worker.running() == 0.0 }).await;
}

#[tokio::test]
async fn standard_error_is_the_log() {
    let worker = Worker::start().await;
    let body = "(call $log (i32.const 0) (i32.const 8))
        (call $respond (local.get $out) (i32.const 200) (i32.const 8) (i32.const 1))";
    let logging =
        ExecuteRequest { function_id: "f-1".into(), ..add(&worker, handler("one\ntwo\n1", body), "") };
    assert_eq!(worker.execute(logging).await, result("1"));
    assert_eq!(log(&worker).await, ["one", "two"]);
}

#[tokio::test]
async fn requests_obey_the_egress_policy_and_are_counted() {
    let router = Router::new()
        .route("/", get(|| async { "text" }))
        .route("/r", get(|| async { Redirect::temporary("/") }));
    let served = Served::start(router).await;
    let port = served.endpoint.port().expect("a TCP port");
    let allow = format!("127.0.0.1:{port}").parse().expect("a rule");
    let egress = EgressConfig { allow: vec![allow], ..EgressConfig::default() };
    let worker = Worker::start_with(|config| config.egress = egress).await;
    let fetch = |path: &str, authority: &str| {
        let code = FETCH.replace("(i32.const 1))", &format!("(i32.const {}))", path.len()));
        let code = handler_with(path, authority, "", &code);
        ExecuteRequest { function_id: "f-1".into(), ..add(&worker, code, "") }
    };
    let here = format!("127.0.0.1:{port}");
    let response = worker.client().execute(fetch("/", &here)).await.expect("a response");
    assert_eq!(receipt::of(response.metadata()).http_requests, 1);
    assert_eq!(crate::support::outcome(Ok(response)), result("\"200\""));
    assert_eq!(worker.execute(fetch("/r", &here)).await, result("\"307\""), "the component follows itself");
    let denied =
        [format!("localhost:{port}"), "169.254.169.254".into(), "10.0.0.1:80".into(), "[::1]:1".into()];
    for authority in &denied[1..] {
        assert_eq!(worker.execute(fetch("/", authority)).await, result(REQUEST_DENIED), "{authority}");
        let lines = log(&worker).await;
        let last = lines.last().expect("a line");
        assert!(last.starts_with("HTTP request failed: egress to "), "{authority}: {last}");
    }
    assert_eq!(worker.metric("funless_egress_denied_total", Some("function")), 3.0);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_an_error_of_the_component() {
    let worker = Worker::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let nobody = listener.local_addr().expect("bound").to_string();
    drop(listener);
    let code = handler_with("/", &nobody, "", FETCH);
    assert_eq!(worker.execute(add(&worker, code, "")).await, result(CONNECTION_REFUSED));
}

#[tokio::test]
async fn commands() {
    let worker = Worker::start().await;
    let long = format!("[\"{}\"]\n", "x".repeat(100_000));
    let copy = add(&worker, command("(call $copy) (i32.const 0)"), "");
    for args in ["{\"a\":1}", long.as_str()] {
        let request = ExecuteRequest { args: Bytes::copy_from_slice(args.as_bytes()), ..copy.clone() };
        assert_eq!(worker.execute(request).await, result(args));
    }
    let cases = [
        ("(call $copy) (call $exit (i32.const 0)) (i32.const 1)", result("[0]")),
        ("(call $copy) (i32.const 1)", function_error("exited with code 1")),
        ("(call $say) (call $exit (i32.const 1)) (i32.const 0)", function_error("out of tea")),
    ];
    for (body, expected) in cases {
        assert_eq!(worker.execute(add(&worker, command(body), "[0]")).await, expected, "{body}");
    }
    let silent = worker.execute(add(&worker, command("(i32.const 0)"), "")).await;
    assert_failed(silent, Reason::GuestBadResponse, "wrote no response to its standard output");
    let trap = worker.execute(add(&worker, command("unreachable"), "")).await;
    assert_failed(trap, Reason::GuestTrapped, "wasm `unreachable` instruction executed");
}
