//! Measures warm invocations of `hello` through REST.

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
    /// Run six processes instead of one.
    #[arg(long)]
    mesh: bool,
    /// The number of measured invocations for each number of connections.
    #[arg(long, default_value_t = 10_000)]
    requests: usize,
    /// The number of concurrent connections; may be repeated.
    #[arg(long, default_values_t = [1, 16])]
    connections: Vec<usize>,
}

/// Starts a mesh, measures it and stops it.
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

/// Uploads `hello` and calls it once. Returns the duration of the call.
pub async fn upload_and_call(fl: &Fl) -> anyhow::Result<Duration> {
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
    let load = Load::new(fl, connections);
    load.run(WARM_UP).await?;
    let measured = load.run(requests).await?;
    println!(
        "{}",
        json!({
            "name": "warm",
            "shape": shape,
            "connections": connections,
            "requests": measured.times.len(),
            "per_s": measured.per_s().round(),
            "p50_us": measured.percentile(0.5)?.as_micros(),
            "p99_us": measured.percentile(0.99)?.as_micros(),
        })
    );
    Ok(())
}

/// Warm calls over several connections.
pub struct Load<'a> {
    fl: &'a Fl,
    /// One client per connection, because each client keeps its own.
    clients: Vec<reqwest::Client>,
}

/// The measurements of a load.
pub struct Measured {
    /// The duration of each call, sorted.
    times: Vec<Duration>,
    elapsed: Duration,
}

impl<'a> Load<'a> {
    /// Opens `connections` clients to a mesh that has the function `hello`.
    pub fn new(fl: &'a Fl, connections: usize) -> Self {
        Self { fl, clients: (0..connections).map(|_| reqwest::Client::new()).collect() }
    }

    /// Makes `requests` calls, spread over all connections concurrently.
    pub async fn run(&self, requests: usize) -> anyhow::Result<Measured> {
        let each = requests.div_ceil(self.clients.len());
        let start = Instant::now();
        let lanes = self.clients.iter().map(|client| calls(client, self.fl, each));
        let times = futures::future::try_join_all(lanes).await?;
        let elapsed = start.elapsed();
        let mut times = times.concat();
        times.sort_unstable();
        Ok(Measured { times, elapsed })
    }
}

impl Measured {
    /// Calls per second.
    pub fn per_s(&self) -> f64 {
        self.times.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// The percentile `share`, between 0 and 1, of the calls' durations.
    pub fn percentile(&self, share: f64) -> anyhow::Result<Duration> {
        let index = (self.times.len() as f64 * share) as usize;
        self.times.get(index.min(self.times.len().saturating_sub(1))).copied().context("no requests")
    }
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
