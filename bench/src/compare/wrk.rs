//! `wrk`, which makes the requests. It costs little CPU itself, which matters on the same cores.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::process::Command;

use super::contender::Contender;

const SCRIPT: &str = include_str!("wrk.lua");

/// What one run has measured.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
pub struct Sample {
    /// Requests with an answer.
    pub requests: u64,
    /// How long the run took.
    pub duration_us: u64,
    /// Requests without the right answer.
    pub failed: u64,
    pub p50_us: u64,
    pub p90_us: u64,
    pub p99_us: u64,
    pub p999_us: u64,
    pub max_us: u64,
}

impl Sample {
    /// Requests per second.
    pub fn per_s(&self) -> f64 {
        self.requests as f64 / (self.duration_us as f64 / 1e6)
    }
}

/// The requests to a contender.
pub struct Requests {
    url: String,
    folder: TempDir,
}

impl Requests {
    /// Calls of a contender with `args`, which has to answer `result`.
    pub fn new(contender: &Contender, function: &str, args: &str, result: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let headers: Vec<_> =
            contender.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        let body = format!(r#"{{"args":{args}}}"#);
        let answer = format!(r#"{{"data":{result}}}"#);
        for (name, text) in [
            ("body", &body),
            ("answer", &answer),
            ("headers", &headers.concat()),
            ("wrk.lua", &SCRIPT.into()),
        ] {
            std::fs::write(folder.path().join(name), text)?;
        }
        Ok(Self { url: format!("{}/{function}", contender.base), folder })
    }

    /// Calls it for `seconds` over so many connections, each of which waits for its answer.
    pub async fn run(&self, connections: u32, seconds: u32) -> anyhow::Result<Sample> {
        let script: PathBuf = self.folder.path().join("wrk.lua");
        let mut wrk = Command::new("wrk");
        wrk.arg("-t1").arg(format!("-c{connections}")).arg(format!("-d{seconds}s")).arg("-s").arg(script);
        let wrk = wrk.arg(&self.url).env("BENCH_FOLDER", self.folder.path()).output().await;
        let output = wrk.context("cannot run wrk; on Debian: apt-get install wrk")?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "wrk: {text}{}", String::from_utf8_lossy(&output.stderr));
        let last = text.lines().last().unwrap_or_default();
        let sample: Sample =
            serde_json::from_str(last).with_context(|| format!("the output of wrk: {text}"))?;
        ensure!(
            sample.failed == 0,
            "{} of {} requests to {} did not get the right answer",
            sample.failed,
            sample.requests,
            self.url
        );
        Ok(sample)
    }
}
