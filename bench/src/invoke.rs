//! Warm invocations of `hello` through REST.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use reqwest::multipart::{Form, Part};
use serde_json::json;

use crate::fl::Fl;

const HELLO: &[u8] = include_bytes!("../../guest/hello.wasm");
const BODY: &str = r#"{"args":{"name":"FunLess"}}"#;
const ANSWER: &str = r#"{"data":{"payload":"Hello FunLess!"}}"#;
const WARM_UP: usize = 500;

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Six processes instead of one.
    #[arg(long)]
    mesh: bool,
    /// Invocations that are measured, per number of connections.
    #[arg(long, default_value_t = 10_000)]
    requests: usize,
    /// How many connections send at once; may be repeated.
    #[arg(long, default_values_t = [1, 16])]
    connections: Vec<usize>,
}

/// Starts a mesh, measures it, stops it.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let fl = Fl::start(options.mesh).await?;
    let shape = if options.mesh { "six processes" } else { "one process" };
    println!("{}", json!({ "name": "start", "shape": shape, "ready_ms": millis(fl.ready_after) }));
    let cold = upload_and_call(&fl).await?;
    println!("{}", json!({ "name": "cold", "shape": shape, "ms": millis(cold) }));
    if !options.mesh {
        println!("{}", json!({ "name": "idle", "shape": shape, "rss_mib": fl.resident_kib()? / 1024 }));
    }
    for connections in &options.connections {
        measure(&fl, shape, *connections, options.requests).await?;
    }
    fl.stop().await
}

async fn upload_and_call(fl: &Fl) -> anyhow::Result<Duration> {
    let code = Part::bytes(HELLO).file_name("hello.wasm");
    let form = Form::new().text("name", "hello").text("wait_for_workers", "false").part("code", code);
    let client = reqwest::Client::new();
    let upload = client.post(format!("{}/v1/fn/_", fl.base)).bearer_auth(&fl.token).multipart(form);
    upload.send().await?.error_for_status()?;
    let start = Instant::now();
    call(&client, fl).await?;
    Ok(start.elapsed())
}

async fn measure(fl: &Fl, shape: &str, connections: usize, requests: usize) -> anyhow::Result<()> {
    let each = requests.div_ceil(connections);
    // A client per connection: a client keeps its own.
    let clients: Vec<_> = (0..connections).map(|_| reqwest::Client::new()).collect();
    futures::future::try_join_all(clients.iter().map(|client| calls(client, fl, WARM_UP / connections)))
        .await?;
    let start = Instant::now();
    let times = futures::future::try_join_all(clients.iter().map(|client| calls(client, fl, each))).await?;
    let elapsed = start.elapsed();
    let mut times = times.concat();
    times.sort_unstable();
    let percentile = |share: f64| {
        let index = (times.len() as f64 * share) as usize;
        times.get(index.min(times.len() - 1)).map(Duration::as_micros).context("no requests")
    };
    println!(
        "{}",
        json!({
            "name": "warm",
            "shape": shape,
            "connections": connections,
            "requests": times.len(),
            "per_s": (times.len() as f64 / elapsed.as_secs_f64()).round(),
            "p50_us": percentile(0.5)?,
            "p99_us": percentile(0.99)?,
        })
    );
    Ok(())
}

async fn calls(client: &reqwest::Client, fl: &Fl, count: usize) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        call(client, fl).await?;
        times.push(start.elapsed());
    }
    Ok(times)
}

async fn call(client: &reqwest::Client, fl: &Fl) -> anyhow::Result<()> {
    let request = client.post(format!("{}/v1/fn/_/hello", fl.base)).bearer_auth(&fl.token);
    let response = request.header("content-type", "application/json").body(BODY).send().await?;
    let body = response.error_for_status()?.text().await?;
    ensure!(body == ANSWER, "expected {ANSWER}, got {body}");
    Ok(())
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e5).round() / 100.0
}
