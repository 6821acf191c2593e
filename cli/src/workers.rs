//! `fl workers`: who runs functions, and how they do.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::pin::pin;
use std::time::Duration;

use anyhow::bail;
use reqwest::{Method, StatusCode};
use serde::Deserialize;

use crate::args;
use crate::client::{Client, data};
use crate::pipe;
use crate::table::Table;

/// How often --watch looks.
const EVERY: Duration = Duration::from_secs(1);
const MIB: u64 = 1 << 20;
/// What makes a terminal empty.
const CLEARED: &str = "\x1b[2J";

#[derive(Deserialize)]
struct Workers {
    workers: Vec<Worker>,
    metrics_problem: Option<String>,
}

#[derive(Deserialize)]
struct Worker {
    name: String,
    /// Empty: none.
    tag: String,
    labels: BTreeMap<String, String>,
    memory: Memory,
    cpus: u32,
    cpu_use: f64,
    load_1: f64,
    running: u32,
    running_by_tag: BTreeMap<String, u32>,
    in_flight: u32,
    draining: bool,
    metrics_source: String,
    warm_count: u64,
}

/// In bytes; absent where it is unknown.
#[derive(Deserialize)]
struct Memory {
    total: Option<u64>,
    available: Option<u64>,
}

/// Shows the workers, once or until Ctrl-C.
pub async fn run(args::Workers { watch, json }: args::Workers, client: &Client) -> anyhow::Result<()> {
    let shown = match watch {
        false => print(&look(client, json).await?),
        true => keep_looking(client, json).await,
    };
    match shown {
        Err(error) if pipe::is_closed(&error) => Ok(()),
        shown => shown,
    }
}

async fn keep_looking(client: &Client, json: bool) -> anyhow::Result<()> {
    let mut stop = pin!(mesh::shutdown::requested());
    let redraws = !json && std::io::stdout().is_terminal();
    // The first look tells a mistake; after it the mesh may come and go.
    let mut frame = look(client, json).await?;
    if redraws {
        print(CLEARED)?;
    }
    loop {
        print(&if redraws { redrawn(&frame) } else { frame })?;
        let next = async {
            tokio::time::sleep(EVERY).await;
            look(client, json).await
        };
        let next = tokio::select! {
            stop = &mut stop => return Ok(stop?),
            next = next => next,
        };
        frame = next.unwrap_or_else(|error| format!("{error:#}\n"));
    }
}

/// What there is to see now.
async fn look(client: &Client, json: bool) -> anyhow::Result<String> {
    let answer = client.ask(client.request(Method::GET, &["admin", "workers"])?).await?;
    if answer.status == StatusCode::UNAUTHORIZED {
        bail!(
            "the token is refused: this takes an administrator's; give it with --token, or as admin_token of the profile"
        );
    }
    let body = answer.success()?;
    match json {
        true => Ok(format!("{body}\n")),
        false => Ok(shown(data(&body)?)),
    }
}

fn shown(Workers { workers, metrics_problem }: Workers) -> String {
    let mut shown = match workers.is_empty() {
        true => "no worker is there\n".to_owned(),
        false => table(workers).to_string(),
    };
    if let Some(problem) = metrics_problem {
        shown.push_str(&format!("\nmetrics: {}\n", problem.replace(char::is_control, " ")));
    }
    shown
}

fn table(workers: Vec<Worker>) -> Table {
    let mut table = Table::new(&[
        "NAME",
        "TAG",
        "STATE",
        "MIB FREE",
        "MIB",
        "CPU",
        "CPUS",
        "LOAD",
        "RUNNING",
        "IN FLIGHT",
        "WARM",
        "METRICS",
        "BY TAG",
        "LABELS",
    ]);
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let mib = |bytes: Option<u64>| bytes.map_or_else(|| "?".to_owned(), |bytes| (bytes / MIB).to_string());
    for worker in workers {
        let by_tag =
            worker.running_by_tag.into_iter().map(|(tag, running)| (or_dash(tag), running.to_string()));
        table.row([
            worker.name,
            or_dash(worker.tag),
            if worker.draining { "draining" } else { "up" }.to_owned(),
            mib(worker.memory.available),
            mib(worker.memory.total),
            format!("{:.0}%", worker.cpu_use * 100.0),
            worker.cpus.to_string(),
            format!("{:.2}", worker.load_1),
            worker.running.to_string(),
            worker.in_flight.to_string(),
            worker.warm_count.to_string(),
            worker.metrics_source,
            or_dash(pairs(by_tag)),
            or_dash(pairs(worker.labels)),
        ]);
    }
    table
}

fn pairs(pairs: impl IntoIterator<Item = (String, String)>) -> String {
    let pairs = pairs.into_iter().map(|(key, value)| format!("{key}={value}"));
    pairs.collect::<Vec<_>>().join(" ")
}

/// A frame over the one before it: each line and all below are cleared as it is written, so that
/// nothing flickers.
fn redrawn(frame: &str) -> String {
    format!("\x1b[H{}\x1b[J", frame.replace('\n', "\x1b[K\n"))
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"{"data":{"metrics_problem":null,"workers":[
        {"name":"far","id":"1","tag":"","labels":{},"address":null,
         "memory":{"total":null,"available":null,"guests":0},"cpus":1,"cpu_use":0.0,"load_1":0.0,"load_5":0.0,
         "load_15":0.0,"running":0,"running_by_tag":{},"in_flight":0,"draining":true,"metrics_source":"reports",
         "last_report_at":null,"warm_count":0,"warm":[]},
        {"name":"near","id":"2","tag":"edge","labels":{"zone":"e\n1","disk":"ssd"},"address":"http://w:4003",
         "memory":{"total":2147483648,"available":1073741824,"guests":5},"cpus":4,"cpu_use":0.506,"load_1":1.5,
         "load_5":0.5,"load_15":0.25,"running":3,"running_by_tag":{"":1,"t":2},"in_flight":2,"draining":false,
         "metrics_source":"prometheus","last_report_at":"2026-01-02T03:04:05Z","warm_count":7,"warm":[]}]}}"#;

    #[test]
    fn workers_are_a_table() {
        let expected = "\
NAME  TAG   STATE     MIB FREE  MIB   CPU  CPUS  LOAD  RUNNING  IN FLIGHT  WARM  METRICS     BY TAG   LABELS
far   -     draining  ?         ?     0%   1     0.00  0        0          0     reports     -        -
near  edge  up        1024      2048  51%  4     1.50  3        2          7     prometheus  -=1 t=2  disk=ssd zone=e 1
";
        assert_eq!(shown(data(TWO).expect("workers")), expected);
    }

    #[test]
    fn what_is_not_there_or_wrong_is_said() {
        let none = r#"{"data":{"workers":[],"metrics_problem":"prometheus does not answer"}}"#;
        let expected = "no worker is there\n\nmetrics: prometheus does not answer\n";
        assert_eq!(shown(data(none).expect("workers")), expected);
    }

    #[test]
    fn a_frame_covers_the_one_before() {
        assert_eq!(redrawn("a\nb\n"), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
    }
}
