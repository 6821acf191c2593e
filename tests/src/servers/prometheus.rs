//! Prometheus.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::{START_TIMEOUT, answers, public_folder};
use crate::client::http;
use crate::process::{Running, free_port, installed, repository};

/// How long the server may take to exit.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// A Prometheus server.
#[derive(Debug)]
pub struct Prometheus {
    server: Running,
    address: String,
    folder: TempDir,
}

impl Prometheus {
    /// Starts a server that scrapes these targets, `host:port`, every second.
    pub async fn start(targets: &[String]) -> Self {
        Self::start_relabelling(targets, "[]").await
    }

    /// Starts a server that also rewrites labels. `rules` are `metric_relabel_configs`, as YAML on one line.
    pub async fn start_relabelling(targets: &[String], rules: &str) -> Self {
        Self::start_configured(targets, rules, &[]).await
    }

    /// Starts a server that also evaluates the rules of `deploy/prometheus` every second.
    pub async fn start_with_rules(targets: &[String]) -> Self {
        let files = ["recording.yml", "alerts.yml"];
        let files = files.map(|file| repository().join("deploy/prometheus/rules").join(file));
        Self::start_configured(targets, "[]", &files).await
    }

    async fn start_configured(targets: &[String], relabelling: &str, rules: &[PathBuf]) -> Self {
        let folder = public_folder();
        let address = format!("127.0.0.1:{}", free_port());
        let rules = serde_json::to_string(rules).expect("paths are UTF-8");
        let lines = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
             rule_files: {rules}\n\
             scrape_configs:\n\
             - job_name: funless\n\
             \x20 file_sd_configs: [ {{ files: [ targets.json ], refresh_interval: 1s }} ]\n\
             \x20 metric_relabel_configs: {relabelling}\n"
        );
        std::fs::write(folder.path().join("prometheus.yml"), lines).expect("a file");
        write_targets(&folder, targets);
        let server = serve(&address, &folder).await;
        Self { server, address, folder }
    }

    /// Replaces the targets, `host:port`.
    pub fn scrape(&self, targets: &[String]) {
        write_targets(&self.folder, targets);
    }

    /// Stops the server and keeps its data.
    pub async fn stop(&mut self) {
        self.server.stop();
        self.server.ended(STOP_TIMEOUT).await;
    }

    /// Restarts a stopped server.
    pub async fn start_again(&mut self) {
        self.server = serve(&self.address, &self.folder).await;
    }

    /// Runs an instant query. Returns series with their values, or the server's error.
    pub async fn query(&self, query: &str) -> Result<Vec<Value>, String> {
        let mut answer = self.get("/api/v1/query", &[("query", query)]).await;
        match answer["data"]["result"].take() {
            Value::Array(series) => Ok(series),
            _ => Err(answer["error"].to_string()),
        }
    }

    /// The exemplars of these series.
    pub async fn exemplars(&self, query: &str) -> Vec<Value> {
        let always = [("start", "0"), ("end", "9999999999")];
        let parameters: Vec<_> = always.into_iter().chain([("query", query)]).collect();
        let mut answer = self.get("/api/v1/query_exemplars", &parameters).await;
        let Value::Array(series) = answer["data"].take() else { panic!("{query}: {answer}") };
        let exemplars = series.into_iter().filter_map(|mut series| match series["exemplars"].take() {
            Value::Array(exemplars) => Some(exemplars),
            _ => None,
        });
        exemplars.flatten().collect()
    }

    /// The targets that cannot be scraped, each with the error.
    pub async fn unscraped(&self) -> Vec<String> {
        let answer = self.get("/api/v1/targets", &[]).await;
        let targets = answer["data"]["activeTargets"].as_array().cloned().unwrap_or_default();
        let down = targets.iter().filter(|target| target["health"] != "up");
        down.map(|target| format!("{}: {}", target["scrapeUrl"], target["lastError"])).collect()
    }

    async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let url = reqwest::Url::parse_with_params(&format!("{}{path}", self.url()), parameters);
        let request = http().get(url.expect("a URL"));
        request.send().await.expect("a response").json().await.expect("valid JSON")
    }

    /// The URL of the HTTP API.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn serve(address: &str, folder: &TempDir) -> Running {
    let mut command = Command::new(installed("prometheus", &[]));
    command.arg("--config.file").arg(folder.path().join("prometheus.yml"));
    command.arg("--storage.tsdb.path").arg(folder.path().join("data"));
    command.args(["--web.listen-address", address, "--enable-feature", "exemplar-storage"]);
    let mut server = Running::start("prometheus", &mut command, &folder.path().join("log"));
    let ready = format!("http://{address}/-/ready");
    server.ready(START_TIMEOUT, async || answers(&ready).await).await;
    server
}

/// Writes the targets atomically, because the server may read them at any time.
fn write_targets(folder: &TempDir, targets: &[String]) {
    let new = folder.path().join("targets.new");
    let groups = serde_json::json!([{ "targets": targets }]);
    std::fs::write(&new, groups.to_string()).expect("a file");
    std::fs::rename(&new, folder.path().join("targets.json")).expect("a file");
}
