//! The memory of the worker for all functions: what each of them takes, and what the host holds for it.

use axum::Router;
use axum::routing::get;
use mesh::Reason;
use mesh::testing::{Served, eventually};
use proto::worker::v1::execution_client::ExecutionClient;
use proto::worker::v1::{ExecuteRequest, ExecuteResponse};
use tokio::task::JoinSet;
use tonic_prost::ProstCodec;

use crate::support::guests::{command, echo, funless, funless_with, hold};
use crate::support::{Worker, result};

const MEMORY: &str = "funless_worker_guest_memory_bytes";
/// The memory of the worker.
const TOTAL: u64 = 10 << 20;
/// The least that a guest of these tests holds. Three of them fit.
const EACH: u32 = 3 << 20;
const MIB: usize = 1 << 20;

/// Never returns.
const SPIN: &str = "(loop $again (br $again)) (i32.const 0)";

async fn worker() -> Worker {
    Worker::start_with(|config| {
        config.total_memory_bytes = Some(TOTAL);
        config.output_bytes = 8 << 20;
    })
    .await
}

/// A web server with a long body at `/long`, and no response to anything else.
async fn web_server() -> Served {
    let router = Router::new()
        .route("/long", get(|| async { "x".repeat(EACH as usize) }))
        .fallback(std::future::pending::<()>);
    Served::start(router).await
}

/// Sends a request with a body of this length, which is at address 4096, and then never returns.
fn sending(uri: &str, method: u32, body_len: usize) -> String {
    let pages = body_len.div_ceil(65_536);
    let send = format!(
        "(drop (memory.grow (i32.const {pages})))
         (drop (call $send (i32.const 4000) (i32.const {method}) (i32.const 0) (i32.const {}) (i32.const 0)
           (i32.const 0) (i32.const 4096) (i32.const {body_len}))) {SPIN}",
        uri.len()
    );
    funless(uri, &send)
}

/// Gives 1.6 MiB of its memory to the host with this call, and then never returns.
fn saying(call: &str) -> String {
    let said = 1_600_000;
    funless(
        "",
        &format!(
            "(if (i32.eq (memory.grow (i32.const 24)) (i32.const -1)) (then unreachable))
             (call ${call} (i32.const 0) (i32.const {said})) {SPIN}"
        ),
    )
}

/// A command that writes 3 MiB to its standard output, and then never ends.
fn printing() -> String {
    command(
        "",
        "(local $left i32)
         (local.set $left (i32.const 48))
         (loop $again
           (call $write (i32.const 1) (i32.const 0) (i32.const 65536))
           (local.set $left (i32.sub (local.get $left) (i32.const 1)))
           (br_if $again (local.get $left)))
         (loop $again (br $again))",
    )
}

/// Four tables that take 800,000 bytes each.
fn tables(elements: u32) -> String {
    format!("(table {elements} 100000 funcref)").repeat(4)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_functions_make_the_host_hold_is_part_of_the_memory_of_the_worker() {
    let (worker, server) = (worker().await, web_server().await);
    let long = format!("{}/long", server.endpoint);
    let growing =
        "(if (i32.eq (table.grow 0 (ref.null func) (i32.const 100000)) (i32.const -1)) (then unreachable))";
    let growing: String = (0..4).map(|table| growing.replace("grow 0", &format!("grow {table}"))).collect();
    let args = format!("\"{}\"", "x".repeat(EACH as usize));
    let (runs, starts) = (Reason::GuestMemoryLimit, Reason::Overloaded);
    let cases = [
        ("linear memory", hold(48), "", runs),
        ("bodies of responses", sending(&long, 0, 0), "", runs),
        ("bodies of requests", sending(&server.endpoint.to_string(), 1, 1_600_000), "", runs),
        ("results", saying("respond"), "", runs),
        ("error messages", saying("fail"), "", runs),
        ("standard output", printing(), "", runs),
        ("tables that grow", funless_with(&tables(0), &(growing + SPIN)), "", runs),
        ("tables", funless_with(&tables(100_000), SPIN), "", starts),
        ("arguments", funless("", SPIN), &args, starts),
    ];
    for (what, wat, args, reason) in cases {
        let request = worker.request(&wat, args);
        let mut holders = JoinSet::new();
        for count in 1..=3 {
            let (mut client, request) = (worker.client(), request.clone());
            holders.spawn(async move { client.execute(request).await });
            eventually(what, || async { worker.metric(MEMORY, None) >= f64::from(count * EACH) }).await;
        }
        let refused = worker.execute(request).await.expect_err(what);
        assert_eq!(refused.reason, reason, "{what}: {refused}");
        assert_eq!(refused.not_started(), reason == starts, "{what}: {refused}");
        assert!(refused.message.contains("of the 10485760 bytes"), "{what}: {refused}");
        assert!(worker.metric(MEMORY, None) <= TOTAL as f64, "{what}");
        assert_eq!(worker.run(&echo(), "1").await, result("1"), "{what}: what needs less runs");
        holders.shutdown().await;
        eventually("all memory is free", || async { worker.metric(MEMORY, None) == 0.0 }).await;
    }
}

/// Returns a string of this many MiB.
fn answering(mib: usize) -> String {
    let len = mib * MIB;
    funless(
        "",
        &format!(
            "(drop (memory.grow (i32.const {})))
             (memory.fill (i32.const 0) (i32.const 0x61) (i32.const {len}))
             (i32.store8 (i32.const 0) (i32.const 0x22))
             (i32.store8 (i32.const {}) (i32.const 0x22))
             (call $respond (i32.const 0) (i32.const {len})) (i32.const 0)",
            mib * 16,
            len - 1,
        ),
    )
}

#[tokio::test]
async fn results_are_held_until_they_are_sent() {
    let worker = worker().await;
    let request = worker.request(&answering(3), "");
    let small = worker.request(&echo(), "1");
    // Calls whose responses nobody reads yet.
    let mut unread = Vec::new();
    let call = async |request: &ExecuteRequest| {
        let mut client = tonic::client::Grpc::new(worker.channel()).max_decoding_message_size(8 * MIB);
        client.ready().await.expect("ready");
        let codec = ProstCodec::<ExecuteRequest, ExecuteResponse>::default();
        let path = http::uri::PathAndQuery::from_static("/funless.worker.v1.Execution/Execute");
        client.server_streaming(tonic::Request::new(request.clone()), path, codec).await
    };
    for count in 1..=2 {
        unread.push(call(&request).await.expect("a response").into_inner());
        assert_eq!(worker.metric(MEMORY, None), f64::from(count * EACH));
        assert_eq!(worker.running(), 0.0);
    }
    let refused = mesh::Error::from(call(&request).await.expect_err("there is no room for another one"));
    assert_eq!(refused.reason, Reason::GuestMemoryLimit, "{refused}");
    drop(call(&small).await.expect("what needs less runs"));

    let mut read = unread.pop().expect("a response");
    assert!(read.message().await.expect("a message").is_some());
    assert!(read.message().await.expect("the trailers").is_none());
    assert_eq!(worker.metric(MEMORY, None), f64::from(EACH), "what is sent is free");
    drop(unread);
    assert_eq!(worker.metric(MEMORY, None), 0.0, "what is not wanted any more is free");
}

/// On one thread.
#[tokio::test]
async fn a_neighbour_goes_on_while_a_long_result_is_checked() {
    let worker = Worker::start_with(|config| config.output_bytes = 8 << 20).await;
    let request = worker.request(&answering(5), "");
    let mut client = ExecutionClient::new(worker.channel()).max_decoding_message_size(8 * MIB);
    client.execute(request.clone()).await.expect("a result, with code that is prepared from now on");
    let steps = std::rc::Rc::new(std::cell::Cell::new(0));
    let local = tokio::task::LocalSet::new();
    let counted = std::rc::Rc::clone(&steps);
    local.spawn_local(async move {
        loop {
            counted.set(counted.get() + 1);
            tokio::task::yield_now().await;
        }
    });
    local.run_until(client.execute(request)).await.expect("a result");
    // The result is checked in 80 pieces.
    assert!(steps.get() >= 79, "{} steps", steps.get());
}
