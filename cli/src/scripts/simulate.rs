//! `fl script simulate`: where a load would run, without running it.

mod chart;
mod input;
mod outcome;
mod summary;
mod units;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use reqwest::Method;
use serde_json::json;

use crate::client::{Client, data};
use outcome::Outcome;

/// Disagreements that are shown, unless all rows are.
const SHOWN: usize = 20;

/// Where a load would run: each invocation is placed as a scheduler would, and nothing is run.
#[derive(Debug, clap::Args)]
pub struct Simulate {
    /// A file with an APP script, or the name of a stored one.
    #[arg(value_name = "FILE|NAME", required_unless_present = "default_policy")]
    script: Option<String>,
    /// Place by the default policy, not by a script.
    #[arg(long, conflicts_with = "script")]
    default_policy: bool,
    /// The workers, YAML or JSON: a list of {name, memory: 512MiB}, or what `fl workers --json` prints.
    #[arg(long, value_name = "FILE")]
    workers: PathBuf,
    /// The load, YAML or JSON: a list of {at: 1.5s, tag, capacity: 64MiB, duration: 200ms}, or what
    /// `fl script decisions --json` prints.
    #[arg(long, value_name = "FILE")]
    load: PathBuf,
    /// The seed of the strategy `random`: the same seed makes the same choices.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Draw a chart into this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Show every invocation, however many there are.
    #[arg(long)]
    all: bool,
    /// Print JSON.
    #[arg(long, conflicts_with = "all")]
    json: bool,
}

/// Asks the mesh where the load would run, and shows it.
pub async fn run(options: &Simulate, client: &Client) -> anyhow::Result<()> {
    let workers = input::workers(&options.workers)?;
    let load = input::load(&options.load)?;
    let mut body = json!({ "workers": workers, "load": load, "seed": options.seed });
    if let Some(script) = &options.script {
        let (key, value) = policy(script)?;
        body[key] = value.into();
    }
    let request = client.request(Method::POST, &["app", "simulate"])?.json(&body);
    let answer = client.send(request).await?;
    let outcome = Outcome::new(workers, load, data(&answer)?)?;
    match options.json {
        true => println!("{}", json!({ "data": outcome.to_json() })),
        false => print!("{}", outcome.to_text(options.all, SHOWN)),
    }
    if let Some(file) = &options.svg {
        let chart = chart::draw(&outcome)?;
        std::fs::write(file, chart).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// What the mesh is told of a script: its text, or its name.
fn policy(script: &str) -> anyhow::Result<(&'static str, String)> {
    let file = Path::new(script);
    if file.is_file() {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        return Ok(("content", text));
    }
    if !script.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        bail!("{script}: there is no such file, and it cannot be the name of a script");
    }
    Ok(("script", script.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_a_file_or_a_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("s.yml");
        std::fs::write(&file, "- default:").expect("written");
        let file = file.to_str().expect("text");
        assert_eq!(policy(file).expect("a file"), ("content", "- default:".to_owned()));
        assert_eq!(policy("edge_1").expect("a name"), ("script", "edge_1".to_owned()));
        for neither in ["nowhere/s.yml", "s.yml", "a b"] {
            assert!(policy(neither).is_err(), "{neither}");
        }
    }
}
