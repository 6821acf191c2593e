//! Collectors that fail, and invocations that do not notice.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;
use tests::collector::Collector;
use tests::process::free_port;
use tests::{Client, Mesh, Shape, guests, wait};
use tokio::net::TcpListener;

use crate::paths::{invocation, trace_of};

/// What exporters wait for one batch: who waited for an export would take as long.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
const SOON: Duration = Duration::from_secs(60);
/// Of these come more spans than the queues below hold.
const INVOCATIONS: usize = 150;
const QUEUED: f64 = 64.0;

/// A collector is away, comes, and goes.
pub async fn a_collector_that_is_away(shape: Shape) {
    let port = free_port();
    let (mesh, user) = start(shape, port).await;
    invoke_many(&user).await;
    expect_bounded_queue(&mesh).await;

    let collector = Collector::start_at(port).await;
    wait::until("traces arrive again", SOON, async || {
        let answer = user.invoke("_", "f", json!({})).await.expect(200);
        let expected = invocation("instantiate (internal)\nrun (internal)");
        let whole = async { collector.expect_tree(&trace_of(&answer), &expected).await };
        tokio::time::timeout(Duration::from_secs(2), whole).await.ok()
    })
    .await;
    drop(collector);
    invoke_many(&user).await;
}

/// A collector takes connections and never says a word.
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

/// None fails, and none waits for an export.
async fn invoke_many(user: &Client) {
    for _ in 0..INVOCATIONS {
        let asked = Instant::now();
        user.invoke("_", "f", json!({})).await.expect(200);
        assert!(asked.elapsed() < EXPORT_TIMEOUT, "it took {:?}", asked.elapsed());
    }
}

/// The queue is bounded, and what the collector did not take is counted. Of one process the queue is larger
/// than this test.
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
