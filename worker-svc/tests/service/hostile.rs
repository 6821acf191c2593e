//! Functions that misbehave: each fails with its own error, frees its resources and does not affect others.

use std::time::Duration;

use futures::future::join_all;
use mesh::Reason;
use mesh::deadline::Deadline;
use mesh::testing::eventually;
use proto::registry::v1::Limits;
use proto::worker::v1::ExecuteRequest;
use proto::worker::v1::execution_client::ExecutionClient;
use tokio::task::JoinSet;

use crate::support::guests::{echo, funless, funless_with, hog, hold, respond, spin};
use crate::support::{Worker, assert_failed, outcome, result, with_limits};

/// Hostile functions, each with the reason and the message of its error.
fn hostile() -> Vec<(String, Reason, &'static str)> {
    let call = |body: &str| funless("", &format!("{body} (i32.const 0)"));
    let recurse = "(func $deep (param i64) (result i64)
        (i64.add (call $deep (i64.add (local.get 0) (i64.const 1))) (i64.const 1)))";
    let trapped = Reason::GuestTrapped;
    vec![
        (spin(), Reason::DeadlineExceeded, "the function ran longer than its time limit of 300 ms"),
        (hog(), Reason::GuestMemoryLimit, "more memory than its limit of 8388608 bytes"),
        (call("unreachable"), trapped, "the function trapped: wasm `unreachable` instruction executed"),
        (
            call("(drop (i32.div_s (i32.const 1) (local.get $len)))")
                .replace("(local.get $len)", "(i32.const 0)"),
            trapped,
            "integer divide by zero",
        ),
        (call("(drop (i32.load (i32.const -4)))"), trapped, "out of bounds memory access"),
        (
            funless_with(recurse, "(drop (call $deep (i64.const 0))) (i32.const 0)"),
            Reason::GuestStackLimit,
            "the function's calls nest deeper than its stack limit of 1048576 bytes",
        ),
        (
            call("(call $log (i32.const -4) (i32.const 8))"),
            trapped,
            "the line out of bounds: 8 bytes at address 4294967292 of a memory of 131072 bytes",
        ),
        (
            call("(call $respond (i32.const 131072) (i32.const 1))"),
            trapped,
            "__insert_response was given the response out of bounds",
        ),
        (
            call("(call $respond (i32.const 1) (i32.const -1))"),
            trapped,
            "the response out of bounds: 4294967295 bytes at address 1",
        ),
        (
            call("(call $fail (i32.const 131071) (i32.const 2))"),
            trapped,
            "__insert_error was given the error message out of bounds",
        ),
        (
            call("(call $input (i32.const 131071))"),
            trapped,
            "__get_input_data was given a buffer for the input out of bounds",
        ),
        (call("(call $input (i32.const -1))"), trapped, "2 bytes at address 4294967295"),
        (
            call("(drop (call $read (i32.const 0) (i32.const -1)))"),
            trapped,
            "__http_read was given a buffer for the body out of bounds",
        ),
        (respond("no JSON"), Reason::GuestBadResponse, "the function's response is not valid JSON"),
        (
            call("(drop (memory.grow (i32.const 120))) (call $respond (i32.const 0) (i32.const 7000000))"),
            Reason::GuestOutputLimit,
            "the function's output is larger than its limit of 1048576 bytes",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fails_with_its_own_error_and_does_not_affect_others() {
    let worker = Worker::start().await;
    let limits = Limits { memory_bytes: 8 << 20, timeout_ms: 300, output_bytes: 0 };
    let good = worker.request(&echo(), "\"good\"");
    for (wat, reason, words) in hostile() {
        let bad = with_limits(worker.request(&wat, ""), limits);
        let goods = join_all((0..4).map(|_| worker.execute(good.clone())));
        let (bad, goods) = tokio::join!(worker.execute(bad), goods);
        assert_failed(bad, reason, words);
        assert!(goods.into_iter().all(|end| end == result("\"good\"")));
    }
    assert_eq!(worker.running(), 0.0);
    assert_eq!(worker.metric("funless_worker_guest_memory_bytes", None), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn their_resources_are_freed() {
    let worker = Worker::start_with(|config| config.max_concurrent = 2).await;
    let requests = [hog(), "(module (func (export \"_start\") unreachable))".into(), spin()]
        .map(|wat| with_limits(worker.request(&wat, ""), Limits { timeout_ms: 20, ..Limits::default() }));
    for round in 0..200 {
        let request = &requests[if round % 50 == 49 { 2 } else { round % 2 }];
        let ends = tokio::join!(worker.execute(request.clone()), worker.execute(request.clone()));
        for end in [ends.0, ends.1] {
            let reason = end.expect_err("hostile").reason;
            assert!(!matches!(reason, Reason::Internal | Reason::Overloaded), "{reason:?} in round {round}");
        }
    }
    assert_eq!(worker.run(&respond("1"), "").await, result("1"));
    assert_eq!(worker.metric("funless_worker_guest_memory_bytes", None), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_spinning_guests_do_not_starve_the_others() {
    let worker = Worker::start_with(|config| config.max_concurrent = 160).await;
    let limits = Limits { timeout_ms: 60_000, ..Limits::default() };
    let (spinning, good) = (with_limits(worker.request(&spin(), ""), limits), worker.request(&echo(), "1"));
    // With a real socket, everything runs on the runtime's two threads.
    let served = worker.serve().await;
    let mut client = ExecutionClient::new(served.channel());
    let mut spinners = JoinSet::new();
    for _ in 0..100 {
        let (mut client, spinning) = (client.clone(), spinning.clone());
        spinners.spawn(async move { client.execute(spinning).await });
    }
    eventually("all spin", || async { worker.running() >= 100.0 }).await;
    for _ in 0..40 {
        assert_eq!(outcome(client.execute(good.clone()).await), result("1"));
    }
    assert!(worker.running() >= 100.0, "forty calls were done while all were spinning");
    spinners.shutdown().await;
    eventually("all have stopped", || async { worker.running() == 0.0 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_module_leaves_places_for_others() {
    let worker = Worker::start_with(|config| config.max_concurrent = 8).await;
    let spinning = worker.request(&spin(), "");
    let (mut spinners, mut client) = (JoinSet::new(), worker.client());
    for running in 1..=7 {
        let (mut client, spinning) = (client.clone(), spinning.clone());
        spinners.spawn(async move { client.execute(spinning).await });
        eventually("it runs", || async { worker.running() == f64::from(running) }).await;
    }
    let refused = outcome(client.execute(spinning).await).expect_err("its share is used");
    assert_eq!(refused.reason, Reason::Overloaded);
    assert!(refused.message.contains("module _ uses its share"), "{refused}");
    let other = ExecuteRequest { module: "other".into(), ..worker.request(&echo(), "1") };
    assert_eq!(outcome(client.execute(other).await), result("1"));
    spinners.shutdown().await;
    eventually("all have stopped", || async { worker.running() == 0.0 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_functions_together_get_no_more_than_the_memory_of_the_worker() {
    const TOTAL: u64 = 10 << 20;
    let worker = Worker::start_with(|config| config.total_memory_bytes = Some(TOTAL)).await;
    let holding = worker.request(&hold(48), "");
    let memory = async || worker.metric("funless_worker_guest_memory_bytes", None);
    let mut holders = JoinSet::new();
    // Each has 50 pages: 3.1 MiB.
    for count in 1..=3 {
        let (mut client, holding) = (worker.client(), holding.clone());
        holders.spawn(async move { client.execute(holding).await });
        eventually("it has its memory", || async { memory().await >= f64::from(count * 50 * 65_536) }).await;
    }
    let refused = worker.execute(holding).await.expect_err("there is not enough left");
    assert_eq!(refused.reason, Reason::GuestMemoryLimit);
    assert!(refused.message.contains("than is left of the 10485760 bytes for all functions"), "{refused}");
    assert_eq!(worker.run(&echo(), "1").await, result("1"), "what needs less runs");
    let large = worker
        .request(&echo().replace(r#"(memory (export "memory") 2)"#, r#"(memory (export "memory") 40)"#), "");
    let refused = worker.execute(large).await.expect_err("there is not enough to start with");
    assert!(refused.reason == Reason::Overloaded && refused.not_started(), "{refused}");
    assert!(memory().await <= TOTAL as f64);
    holders.shutdown().await;
    eventually("all memory is free", || async { memory().await == 0.0 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invocations_over_the_limit_are_refused_at_once() {
    let worker = Worker::start_with(|config| config.max_concurrent = 2).await;
    let spinning = with_limits(worker.request(&spin(), ""), Limits { timeout_ms: 500, ..Limits::default() });
    let third = async {
        eventually("two run", || async { worker.running() == 2.0 }).await;
        worker.run(&respond("1"), "").await
    };
    let two = join_all((0..2).map(|_| worker.execute(spinning.clone())));
    let (third, _) = tokio::join!(third, two);
    let refused = third.expect_err("overloaded");
    assert_eq!(refused.reason, Reason::Overloaded);
    assert!(refused.not_started() && refused.retry_after.is_some());
    assert_eq!(worker.metric("funless_worker_invocations_total", Some("overloaded")), 1.0);
    assert_eq!(worker.run(&respond("1"), "").await, result("1"), "there is a free permit again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_goes_away_stops_the_guest() {
    let worker = Worker::start().await;
    let served = worker.serve().await;
    let mut client = ExecutionClient::new(served.channel());
    let request = worker.request(&spin(), "");
    let calling = tokio::spawn(async move { client.execute(request).await });
    eventually("it runs", || async { worker.running() == 1.0 }).await;
    calling.abort();
    eventually("it has stopped", || async { worker.running() == 0.0 }).await;
    assert_eq!(worker.metric("funless_worker_invocations_total", Some("abandoned")), 1.0);
    assert_eq!(worker.metric("funless_worker_guest_memory_bytes", None), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_callers_deadline_stops_the_guest() {
    let worker = Worker::start().await;
    let served = worker.serve().await;
    let mut client = ExecutionClient::new(served.channel());
    let request = Deadline::after(Duration::from_millis(200)).attach(worker.request(&spin(), ""));
    assert_failed(outcome(client.execute(request).await), Reason::DeadlineExceeded, "");
    eventually("it has stopped", || async { worker.running() == 0.0 }).await;
}

#[tokio::test]
async fn an_initial_memory_over_the_limit_is_a_memory_limit_error() {
    let worker = Worker::start().await;
    let request = worker.request(&echo(), "");
    let limited = with_limits(request, Limits { memory_bytes: 65536, ..Limits::default() });
    let words = "more memory than its limit of 65536 bytes";
    assert_failed(worker.execute(limited).await, Reason::GuestMemoryLimit, words);
}
