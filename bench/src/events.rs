//! Measures the path from MQTT messages to the documents with their results.

use std::time::{Duration, Instant};

use anyhow::ensure;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tests::publisher::Publisher;
use tests::servers::{Couch, Mosquitto};

use crate::deliver;
use crate::fl::Fl;

/// The function's topic. Each publisher has its own subtopic and waits for the broker independently, so that
/// together they are faster than what is measured.
const TOPIC: &str = "bench";
const PUBLISHERS: u32 = 4;
const DATABASE: &str = "results";
/// As fast as the broker accepts messages.
const UNPACED: u32 = 1_000_000;
const WARM_UP: u32 = 500;
const POLL: Duration = Duration::from_millis(5);
/// Fail after this long without progress.
const STALL: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
pub struct Options {
    /// The number of measured messages.
    #[arg(long, default_value_t = 20_000)]
    messages: u32,
    /// Run six processes instead of one.
    #[arg(long)]
    mesh: bool,
    /// Accepted for scripts; the output is always one JSON object per line.
    #[arg(long)]
    json: bool,
}

/// Measures the whole path, and then the outbox on its own.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let shape = if options.mesh { "six processes" } else { "one process" };
    for store in [true, false] {
        whole_path(options, shape, store).await?;
    }
    deliver::run().await
}

/// Measures the path with a sink, or without one, which shows the cost of events alone.
async fn whole_path(options: &Options, shape: &str, with_store: bool) -> anyhow::Result<()> {
    let fl = Fl::start(options.mesh).await?;
    let (broker, store) = tokio::join!(Mosquitto::start(), Couch::start());
    let database = store.create_database(DATABASE).await;
    let sinks =
        if with_store { json!([{ "type": "couchdb", "params": { "url": database } }]) } else { json!([]) };
    bind(&fl, &broker, &sinks).await?;
    publish(&broker, WARM_UP).await;
    done(&fl, with_store, WARM_UP).await?;

    let cpu = fl.cpu_time()?;
    let start = Instant::now();
    let last = WARM_UP + options.messages;
    let (published, ended) = tokio::join!(
        async {
            publish(&broker, options.messages).await;
            start.elapsed()
        },
        done(&fl, with_store, last),
    );
    ended?;
    let took = start.elapsed().as_secs_f64();
    let cpu = (fl.cpu_time()? - cpu).as_secs_f64();
    println!(
        "{}",
        json!({
            "name": if with_store { "events to documents" } else { "events" },
            "shape": shape,
            "messages": options.messages,
            "events_per_s": (f64::from(options.messages) / took).round(),
            "published_per_s": (f64::from(options.messages) / published.as_secs_f64()).round(),
            "cpu_us_per_event": (cpu * 1e6 / f64::from(options.messages)).round(),
        })
    );
    fl.stop().await
}

/// Publishes messages and waits until the broker has acknowledged them.
async fn publish(broker: &Mosquitto, messages: u32) {
    let publishers = (0..PUBLISHERS).map(|number| {
        let publisher = Publisher::new(broker.port(), &format!("{TOPIC}/{number}"));
        let share = number * messages / PUBLISHERS..(number + 1) * messages / PUBLISHERS;
        async move { publisher.publish(share, UNPACED).await }
    });
    futures::future::join_all(publishers).await;
}

async fn bind(fl: &Fl, broker: &Mosquitto, sinks: &Value) -> anyhow::Result<()> {
    let params = json!({ "host": "127.0.0.1", "port": broker.port(), "topic": format!("{TOPIC}/#"), "max_in_flight": 256 });
    let events = json!([{ "type": "mqtt", "params": params }]);
    let form = Form::new()
        .text("name", "echo")
        .text("events", events.to_string())
        .text("sinks", sinks.to_string())
        .part("code", Part::bytes(tests::guests::echo()).file_name("echo.wasm"));
    let upload = reqwest::Client::new().post(format!("{}/v1/fn/_", fl.base)).bearer_auth(&fl.token);
    let answer = upload.multipart(form).send().await?;
    ensure!(answer.status() == 201, "cannot create the function: {}", answer.text().await?);
    Ok(())
}

/// Waits until this many events have been acknowledged or, with a store, their results delivered.
async fn done(fl: &Fl, with_store: bool, count: u32) -> anyhow::Result<()> {
    let client = reqwest::Client::new();
    let mut last = (0, Instant::now());
    loop {
        let request = client.get(format!("{}/v1/conservation", fl.base)).bearer_auth(&fl.token);
        let answer: Value = request.send().await?.json().await?;
        let done = match with_store {
            true => &answer["data"]["sinks"]["sum"]["delivered"],
            false => &answer["data"]["events"]["sum"]["acknowledged"],
        };
        let done = done.as_u64().unwrap_or_default();
        if done >= count.into() {
            return Ok(());
        }
        if done > last.0 {
            last = (done, Instant::now());
        }
        ensure!(last.1.elapsed() < STALL, "no progress after {done} of {count} events: {answer}");
        tokio::time::sleep(POLL).await;
    }
}
