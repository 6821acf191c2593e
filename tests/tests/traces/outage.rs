//! Outages of the collector do not affect invocations.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;
use tests::collector::Collector;
use tests::process::free_port;
use tests::{Client, Mesh, Shape, guests, wait};
use tokio::net::TcpListener;

use crate::paths::{invocation, trace_of};

/// The exporters' timeout for one batch. An invocation that waited for an export would take this long.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
const SOON: Duration = Duration::from_secs(60);
/// Enough invocations to produce more spans than the queues below hold.
const INVOCATIONS: usize = 150;
const QUEUED: f64 = 64.0;

/// A collector is down at first, starts, and stops again.
pub async fn a_collector_that_is_away(shape: Shape) {
    let port = free_port();
    let (mesh, user) = start(shape, port).await;
    invoke_many(&user).await;
    expect_bounded_queue(&mesh).await;

    let collector = Collector::start_at(port).await;
    wait::until("traces arrive again", SOON, async || {
        let answer = user.invoke("_", "f", json!({})).await.expect(200);
        let expected = invocation("instantiate (internal)\nrun (internal)");
        let complete = async { collector.expect_tree(&trace_of(&answer), &expected).await };
        tokio::time::timeout(Duration::from_secs(2), complete).await.ok()
    })
    .await;
    drop(collector);
    invoke_many(&user).await;
}

/// A collector accepts connections and never responds.
pub async fn a_collector_that_hangs(shape: Shape) {
    let silent = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
    let port = silent.local_addr().expect("a port").port();
    let _holding = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((connection, _)) = silent.accept().await {
            held.push(connection);
        }
    });
    let (mesh, user) = start(shape, port).await;
    invoke_many(&user).await;
    expect_bounded_queue(&mesh).await;
}

async fn start(shape: Shape, collector: u16) -> (Mesh, Client) {
    let url = format!("http://127.0.0.1:{collector}");
    let mut flags = vec!["--otlp-endpoint", &url];
    if shape.processes.is_some() {
        flags.extend(["--set", "worker.telemetry.queued_spans=64"]);
    }
    let mesh = Mesh::start_with(shape, &flags).await;
    let user = mesh.user();
    user.create_function("_", "f", &guests::responding(b"1")).await;
    (mesh, user)
}

/// Asserts that no invocation fails or waits for an export.
async fn invoke_many(user: &Client) {
    for _ in 0..INVOCATIONS {
        let start = Instant::now();
        user.invoke("_", "f", json!({})).await.expect(200);
        assert!(start.elapsed() < EXPORT_TIMEOUT, "the invocation took {:?}", start.elapsed());
    }
}

/// Asserts that the queue is bounded and that lost spans are counted. The queue of a single process is too
/// large for this test.
async fn expect_bounded_queue(mesh: &Mesh) {
    if mesh.shape.processes.is_none() {
        return;
    }
    let page = format!("{}/metrics", mesh.services()["worker"].admin);
    let lost = wait::until("lost spans are counted", SOON, async || {
        let page = tests::client::http().get(&page).send().await.ok()?.text().await.ok()?;
        let value = |name: &str| -> Option<f64> {
            let line = page.lines().find(|line| line.starts_with(name))?;
            line.rsplit_once(' ')?.1.parse().ok()
        };
        let queued = value("funless_telemetry_spans_queued")?;
        assert!(queued <= QUEUED, "{queued} spans are queued");
        let [dropped, failed] = ["dropped", "failed"]
            .map(|outcome| value(&format!("funless_telemetry_spans_total{{outcome=\"{outcome}\"")));
        Some(dropped? + failed?).filter(|lost| *lost > 0.0)
    });
    lost.await;
}
