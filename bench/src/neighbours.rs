//! Measures invocations of one module, alone and beside another module that uses the worker as much as it can.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use reqwest::Response;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tests::guests;
use tokio::task::JoinSet;

use crate::fl::Fl;

/// The module that is measured.
const QUIET: &str = "quiet";
/// The module beside it.
const BUSY: &str = "busy";
/// The measured functions: one that ends at once, and one that needs several time slices.
const MEASURED: [&str; 2] = ["hello", "computing"];
/// What the busy module does.
const LOADS: [&str; 3] = ["spinning", "logging", "responding"];
/// The number of steps that the function `computing` counts.
const STEPS: u32 = 10_000_000;
/// The size of a response of `responding`, in MiB.
const RESPONSE_MIB: u32 = 5;
const WARM_UP: u32 = 100;
/// How long the load runs before the measurement.
const LEAD: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Run six processes instead of one.
    #[arg(long)]
    mesh: bool,
    /// The number of concurrent invocations of the busy module.
    #[arg(long, default_value_t = 50)]
    copies: usize,
    /// The number of rounds, in each of which everything is measured once.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// The number of measured invocations for each load in each round, one after the other.
    #[arg(long, default_value_t = 400)]
    requests: u32,
    /// Only beside this load; may be repeated.
    #[arg(long, value_parser = LOADS)]
    beside: Vec<String>,
    /// The pause between two measured invocations, in milliseconds.
    #[arg(long, default_value_t = 5)]
    pause_ms: u64,
}

impl Options {
    /// 0 for no load, and the chosen loads, counted from 1.
    fn loads(&self) -> impl Iterator<Item = usize> {
        let is_chosen =
            |name: &str| self.beside.is_empty() || self.beside.iter().any(|chosen| chosen == name);
        (0..=LOADS.len()).filter(move |load| *load == 0 || is_chosen(LOADS[load - 1]))
    }
}

/// Starts a mesh, measures it and stops it.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let fl = Fl::start(options.mesh).await?;
    let mesh = Mesh { client: reqwest::Client::new(), fl: &fl };
    mesh.set_up().await?;
    for function in MEASURED {
        let warm_up = mesh.measure(function, WARM_UP, Duration::ZERO).await?;
        ensure!(warm_up.errors == 0, "{} invocations of {function} fail alone", warm_up.errors);
    }
    // For each measured function: alone, and beside each load.
    let mut measured = vec![vec![Measured::default(); 1 + LOADS.len()]; MEASURED.len()];
    for _ in 0..options.rounds {
        for load in options.loads() {
            let busy = load.checked_sub(1).map(|load| mesh.busy(LOADS[load], options.copies));
            if busy.is_some() {
                tokio::time::sleep(LEAD).await;
            }
            for (function, measured) in MEASURED.iter().zip(&mut measured) {
                let pause = Duration::from_millis(options.pause_ms);
                measured[load].add(mesh.measure(function, options.requests, pause).await?);
            }
            if let Some((mut busy, results)) = busy {
                for measured in &mut measured {
                    measured[load].load_results += results.load(Ordering::Relaxed);
                }
                busy.shutdown().await;
                tokio::time::sleep(LEAD / 4).await;
            }
        }
    }
    for (function, measured) in MEASURED.iter().zip(&mut measured) {
        report(options, function, measured)?;
    }
    fl.stop().await
}

/// The outcomes of the invocations of one function beside one load.
#[derive(Debug, Clone, Default)]
struct Measured {
    /// The durations of those with a result.
    times: Vec<Duration>,
    /// The number of those without.
    errors: usize,
    /// The number of the load's results meanwhile.
    load_results: usize,
}

impl Measured {
    fn add(&mut self, other: Self) {
        self.times.extend(other.times);
        self.errors += other.errors;
        self.load_results += other.load_results;
    }
}

/// Prints the times of one function: those without a load come first.
fn report(options: &Options, function: &str, measured: &mut [Measured]) -> anyhow::Result<()> {
    measured.iter_mut().for_each(|measured| measured.times.sort_unstable());
    let percentile = |load: usize, percent: usize| {
        let times = &measured[load].times;
        times.get(times.len() * percent / 100).map(Duration::as_micros).context("no requests")
    };
    for load in options.loads() {
        let (p50, p99) = (percentile(load, 50)?, percentile(load, 99)?);
        let (p50_alone, p99_alone) = (percentile(0, 50)?, percentile(0, 99)?);
        println!(
            "{}",
            json!({
                "name": "neighbours",
                "shape": if options.mesh { "six processes" } else { "one process" },
                "measured": function,
                "beside": if load == 0 { "nothing" } else { LOADS[load - 1] },
                "copies": options.copies,
                "requests": measured[load].times.len() + measured[load].errors,
                "errors": measured[load].errors,
                "load_results": measured[load].load_results,
                "p50_us": p50,
                "p99_us": p99,
                "p50_times": ratio(p50, p50_alone),
                "p99_times": ratio(p99, p99_alone),
            })
        );
    }
    Ok(())
}

fn ratio(time: u128, alone: u128) -> f64 {
    (time as f64 / alone as f64 * 100.0).round() / 100.0
}

/// A client of a mesh.
struct Mesh<'a> {
    client: reqwest::Client,
    fl: &'a Fl,
}

impl Mesh<'_> {
    async fn set_up(&self) -> anyhow::Result<()> {
        for module in [QUIET, BUSY] {
            let body = json!({ "module": { "name": module } });
            let created = self.client.post(format!("{}/v1/fn", self.fl.base)).bearer_auth(&self.fl.token);
            created.json(&body).send().await?.error_for_status()?;
        }
        self.upload(QUIET, "hello", guests::hello()).await?;
        self.upload(QUIET, "computing", guests::computing(STEPS)).await?;
        self.upload(BUSY, "spinning", guests::spinning()).await?;
        self.upload(BUSY, "logging", guests::flooding_log()).await?;
        self.upload(BUSY, "responding", guests::answering_much(RESPONSE_MIB)).await
    }

    async fn upload(&self, module: &str, name: &'static str, code: Vec<u8>) -> anyhow::Result<()> {
        let form = Form::new().text("name", name).part("code", Part::bytes(code).file_name("code.wasm"));
        let upload = self.client.post(format!("{}/v1/fn/{module}", self.fl.base)).bearer_auth(&self.fl.token);
        upload.multipart(form).send().await?.error_for_status()?;
        Ok(())
    }

    fn invocation(&self, module: &str, function: &str) -> reqwest::RequestBuilder {
        let request = self.client.post(format!("{}/v1/fn/{module}/{function}", self.fl.base));
        request.bearer_auth(&self.fl.token).json(&json!({ "args": { "name": "FunLess" } }))
    }

    /// Invokes a function of the quiet module, one time after the other.
    async fn measure(&self, function: &str, count: u32, pause: Duration) -> anyhow::Result<Measured> {
        let mut measured = Measured::default();
        for _ in 0..count {
            let start = Instant::now();
            let response = self.invocation(QUIET, function).send().await?;
            if response.status().is_success() {
                let body: Value = response.json().await?;
                measured.times.push(start.elapsed());
                ensure!(body.get("data").is_some(), "expected a result, got {body}");
            } else {
                measured.errors += 1;
            }
            tokio::time::sleep(pause).await;
        }
        Ok(measured)
    }

    /// Invokes a function of the busy module, so many at once, again and again, until the tasks are dropped. Counts
    /// their results.
    fn busy(&self, function: &str, copies: usize) -> (JoinSet<()>, Arc<AtomicUsize>) {
        let (mut busy, results) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
        for _ in 0..copies {
            let request = self.invocation(BUSY, function);
            let results = Arc::clone(&results);
            busy.spawn(async move {
                while let Some(request) = request.try_clone() {
                    // Some of these functions fail, when their time is over.
                    if let Ok(response) = request.send().await.and_then(Response::error_for_status)
                        && response.bytes().await.is_ok()
                    {
                        results.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        (busy, results)
    }
}
