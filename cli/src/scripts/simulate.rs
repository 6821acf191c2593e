//! `fl script simulate`: where a load would run, without running it.

mod chart;
mod input;
mod outcome;
mod place;
mod report;
mod summary;
mod units;

use std::path::Path;

use anyhow::{Context as _, bail};
use reqwest::Method;
use serde_json::json;

use crate::args::Simulate;
use crate::client::{Client, data};
use outcome::Outcome;

/// Disagreements that are shown, unless all rows are.
const SHOWN: usize = 20;

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
        true => println!("{}", json!({ "data": report::json(&outcome) })),
        false => print!("{}", report::text(&outcome, options.all, SHOWN)),
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
    if script.contains('/')
        || file.extension().is_some_and(|extension| extension == "yml" || extension == "yaml")
    {
        bail!("{script}: no such file");
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
        for name in ["edge_1", "a-b c"] {
            assert_eq!(policy(name).expect("a name"), ("script", name.to_owned()));
        }
        for neither in ["nowhere/s", "nowhere/s.yml", "s.yml", "s.yaml"] {
            assert!(policy(neither).is_err(), "{neither}");
        }
    }
}
