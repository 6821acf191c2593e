//! Measures the outbox on its own: one sink service stores results durably in embedded SQLite; they are not
//! delivered.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use mesh::channel::{Channel, Dialer};
use proto::sink::v1::DeliverRequest;
use proto::sink::v1::delivery_client::DeliveryClient;
use serde_json::json;
use tokio::process::Command;

const RESULT: &str = r#"{"payload":"Hello FunLess!"}"#;
const CONCURRENCY: [usize; 3] = [1, 16, 64];
const RESULTS: usize = 20_000;
/// Fewer for concurrency 1, where each result waits for the disk.
const RESULTS_ALONE: usize = 2000;
const READY_TIMEOUT: Duration = Duration::from_secs(20);
const READY_POLL: Duration = Duration::from_millis(10);

/// Measures the call `Deliver`.
pub async fn run() -> anyhow::Result<()> {
    let sink = std::env::current_exe()?.with_file_name("sink-svc");
    let data = tempfile::tempdir()?;
    let port = tests::process::free_port();
    let mut child = Command::new(&sink)
        .args(["--set", &format!("server.listen=127.0.0.1:{port}"), "--set", "server.admin_listen=off"])
        .args(["--set", "server.insecure=true"])
        .args(["--set", &format!("database_url=sqlite:{}/sink.db", data.path().display())])
        .args(["--set", "telemetry.log=error"])
        // There is no registry, so that accepted results stay in the outbox.
        .args(["--set", "registry=http://127.0.0.1:1"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot run {}; build it for release first", sink.display()))?;
    let endpoint = format!("http://127.0.0.1:{port}").parse().map_err(anyhow::Error::msg)?;
    let channel = Dialer::default().dial(&endpoint)?;
    accepts(&channel).await?;
    for concurrency in CONCURRENCY {
        let results = if concurrency == 1 { RESULTS_ALONE } else { RESULTS };
        measure(&channel, concurrency, results).await?;
    }
    child.kill().await?;
    Ok(())
}

async fn accepts(channel: &Channel) -> anyhow::Result<()> {
    let start = Instant::now();
    while deliver(channel, "first").await.is_err() {
        ensure!(start.elapsed() < READY_TIMEOUT, "the sink service does not accept results");
        tokio::time::sleep(READY_POLL).await;
    }
    Ok(())
}

async fn measure(channel: &Channel, concurrency: usize, results: usize) -> anyhow::Result<()> {
    let each = results / concurrency;
    let lanes = (0..concurrency).map(|lane| {
        let channel = channel.clone();
        tokio::spawn(async move {
            let mut times = Vec::with_capacity(each);
            for number in 0..each {
                let start = Instant::now();
                deliver(&channel, &format!("{concurrency}-{lane}-{number}")).await?;
                times.push(start.elapsed());
            }
            anyhow::Ok(times)
        })
    });
    let start = Instant::now();
    let mut times = Vec::with_capacity(results);
    for lane in lanes.collect::<Vec<_>>() {
        times.extend(lane.await??);
    }
    let took = start.elapsed().as_secs_f64();
    times.sort_unstable();
    let millis = |share: f64| {
        let index = ((times.len() as f64 * share) as usize).min(times.len() - 1);
        (times[index].as_secs_f64() * 1e5).round() / 100.0
    };
    println!(
        "{}",
        json!({
            "name": "deliver",
            "concurrency": concurrency,
            "results": times.len(),
            "accepted_per_s": (times.len() as f64 / took).round(),
            "deliver_p50_ms": millis(0.5),
            "deliver_p99_ms": millis(0.99),
        })
    );
    Ok(())
}

async fn deliver(channel: &Channel, invocation_id: &str) -> anyhow::Result<()> {
    let request = DeliverRequest {
        invocation_id: invocation_id.to_owned(),
        function_id: "f".to_owned(),
        result: RESULT.into(),
        module: "_".to_owned(),
        function: "hello".to_owned(),
        owner: String::new(),
        sinks: vec!["sink".to_owned()],
    };
    DeliveryClient::new(channel.clone()).deliver(request).await?;
    Ok(())
}
