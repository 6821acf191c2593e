//! Receipts of invocations, in the trailers of responses.

use axum::Router;
use axum::routing::get;
use mesh::receipt::{self, Receipt};
use mesh::testing::Served;
use proto::worker::v1::ExecuteRequest;

use crate::http::{requesting, return_status};
use crate::support::guests::{funless, respond, spin};
use crate::support::{Worker, nowhere, with_limits};

const PAGE: u64 = 64 << 10;

/// Runs it and returns the receipt, also of a failure.
async fn receipt_of(worker: &Worker, request: ExecuteRequest) -> Receipt {
    match worker.client().execute(request).await {
        Ok(response) => receipt::of(response.metadata()),
        Err(status) => receipt::of(status.metadata()),
    }
}

#[tokio::test]
async fn phases_of_a_cold_start_are_in_the_receipt() {
    let worker = Worker::start().await;
    let request = worker.request(&respond("[1,2]"), r#"{"a":1}"#);
    let cold = receipt_of(&worker, request.clone()).await;
    assert!(cold.fetch_us > 0 && cold.compile_us > 0, "{cold:?}");
    assert_eq!(cold.load_us, 0, "there was no artifact: {cold:?}");
    let warm = receipt_of(&worker, request.clone()).await;
    assert_eq!((warm.fetch_us, warm.compile_us, warm.load_us), (0, 0, 0), "{warm:?}");
    assert!(warm.instantiate_us + warm.run_us > 0 && warm.cpu_us > 0, "{warm:?}");
    assert_eq!((warm.in_bytes, warm.out_bytes, warm.http_requests), (7, 5, 0));
    assert_eq!(warm.peak_memory_bytes, 2 * PAGE);

    let (registry, cache) = worker.stop().await;
    // A snapshot would remove the artifact, which no function uses.
    let again = Worker::start_in(registry, cache, |config| config.registry = nowhere()).await;
    let from_disk = receipt_of(&again, request).await;
    assert!(from_disk.load_us > 0 && from_disk.compile_us == 0, "{from_disk:?}");
}

#[tokio::test]
async fn memory_requests_and_time_are_in_the_receipt() {
    let worker = Worker::start().await;
    let grown = funless("", "(drop (memory.grow (i32.const 10))) (i32.const 1)");
    let receipt = receipt_of(&worker, worker.request(&grown, "{}")).await;
    assert_eq!(receipt.peak_memory_bytes, 12 * PAGE);

    let far = Served::start(Router::new().route("/", get(|| async { "1" }))).await;
    let calling = requesting(0, &far.endpoint.to_string(), "", "", &return_status());
    let receipt = receipt_of(&worker, worker.request(&calling, "{}")).await;
    assert_eq!(receipt.http_requests, 1);
    assert_eq!(worker.metric("funless_worker_guest_http_requests_total", None), 1.0);

    // A function that computes until it is stopped has used the CPU all the time.
    let limits = proto::registry::v1::Limits { timeout_ms: 300, ..Default::default() };
    let receipt = receipt_of(&worker, with_limits(worker.request(&spin(), "{}"), limits)).await;
    assert!(receipt.run_us + receipt.queue_us >= 250_000, "{receipt:?}");
    assert!(receipt.cpu_us > 0 && receipt.cpu_us <= receipt.run_us + receipt.queue_us, "{receipt:?}");
}

#[tokio::test]
async fn a_failed_run_has_a_receipt_and_a_refused_one_has_none() {
    let worker = Worker::start().await;
    let trapped = receipt_of(&worker, worker.request(&funless("", "unreachable"), "{}")).await;
    assert_eq!((trapped.in_bytes, trapped.out_bytes, trapped.peak_memory_bytes), (2, 0, 2 * PAGE));
    let unknown = receipt_of(&worker, ExecuteRequest::default()).await;
    assert_eq!(unknown, Receipt::default());
    assert_eq!(worker.metric("funless_worker_guest_peak_memory_bytes", None), 1.0, "one has run");
    assert_eq!(worker.metric("funless_worker_instantiate_duration_seconds", None), 1.0);
}
