//! `fl bench`: invokes a function many times, and measures throughput and latency.

mod buckets;
mod load;
mod report;
mod tally;

use std::io::Write as _;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::StatusCode;

use self::load::{Load, Progress, Target};
use self::report::Report;
use crate::args::Bench;
use crate::client::Client;
use crate::functions::{Invocation, arguments};
use crate::names;
use crate::pipe;

/// How long it goes on if nothing else is said.
const DEFAULT_DURATION: Duration = Duration::from_secs(10);
/// How often the progress is shown.
const REFRESH: Duration = Duration::from_millis(100);

/// Measures, and prints what was measured. Fails if no invocation succeeded.
pub async fn run(options: Bench, client: &Client) -> anyhow::Result<()> {
    let (module, name) = options.function.parts()?;
    let args = arguments(("--input", options.input.input), options.input.args)?;
    let (module, name) = (module.to_owned(), name.to_owned());
    let invocation = Invocation { module, name, args, ..Invocation::default() };
    let body = Bytes::from(invocation.body()?);
    let Invocation { module, name, .. } = invocation;
    let target = Target { client: client.clone(), module, name, body };
    try_once(&target).await?;

    let load = Load {
        connections: options.connections.into(),
        invocations: options.invocations,
        duration: options.duration.or(options.invocations.is_none().then_some(DEFAULT_DURATION)),
        rate: options.rate,
    };
    let function = format!("{}/{}", target.module, target.name);
    let measured = show_progress(&load, Arc::new(target)).await?;
    let report = Report { function: &function, load: &load, measured: &measured };
    let text = if options.json { format!("{}\n", report.to_json()) } else { report.to_string() };
    match std::io::stdout().write_all(text.as_bytes()).map_err(anyhow::Error::from) {
        Err(error) if pipe::is_closed(&error) => {}
        written => written?,
    }
    ensure!(measured.tally.succeeded() > 0, "no invocation succeeded");
    Ok(())
}

/// One invocation that does not count: it warms up, and shows whether the function can be invoked at all.
async fn try_once(target: &Target) -> anyhow::Result<()> {
    let answer = target.client.ask(target.request()?).await?;
    let is_outcome = |status: StatusCode| {
        status == StatusCode::UNPROCESSABLE_ENTITY
            || status == StatusCode::TOO_MANY_REQUESTS
            || status.is_server_error()
    };
    if is_outcome(answer.status) {
        return Ok(());
    }
    match answer.success() {
        Ok(_) => Ok(()),
        Err(error) => {
            let Target { client, module, name, .. } = target;
            Err(names::suggest(error, client, module, Some(name)).await)
        }
    }
}

/// Makes the load, with a progress bar on a terminal, until it has ended or the user stops it.
async fn show_progress(load: &Load, target: Arc<Target>) -> anyhow::Result<load::Measured> {
    let bar = ProgressBar::new(load.invocations.or(load.duration.map(in_ms)).unwrap_or_default());
    let style = ProgressStyle::with_template("{wide_bar} {msg}").context("the progress bar")?;
    bar.set_style(style);
    let (progress, begun) = (Arc::new(Progress::default()), Instant::now());
    let mut stop = pin!(mesh::shutdown::requested());
    let mut running = pin!(load::run(load, target, Arc::clone(&progress)));
    let mut refresh = tokio::time::interval(REFRESH);
    let measured = loop {
        tokio::select! {
            measured = &mut running => break measured?,
            stopped = &mut stop, if !progress.is_stopped() => {
                stopped?;
                progress.stop();
            }
            _ = refresh.tick() => {
                let (succeeded, failed) = progress.counts();
                let position = if load.invocations.is_some() { succeeded + failed } else { in_ms(begun.elapsed()) };
                bar.set_position(position);
                let rate = succeeded as f64 / begun.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
                bar.set_message(format!("{rate:.0}/s, {failed} errors"));
            }
        }
    };
    bar.finish_and_clear();
    Ok(measured)
}

fn in_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
