//! Prometheus.

use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::{START_TIMEOUT, answers, public_folder};
use crate::process::{Running, free_port, installed};

/// How long one may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// A Prometheus server.
#[derive(Debug)]
pub struct Prometheus {
    server: Running,
    address: String,
    folder: TempDir,
}

impl Prometheus {
    /// Starts one that scrapes these `host:port` each second.
    pub async fn start(targets: &[String]) -> Self {
        Self::start_relabelling(targets, "[]").await
    }

    /// Starts one that also rewrites the labels of what it scrapes: `metric_relabel_configs`, as YAML in one
    /// line.
    pub async fn start_relabelling(targets: &[String], rules: &str) -> Self {
        let folder = public_folder();
        let address = format!("127.0.0.1:{}", free_port());
        let lines = format!(
            "global: {{ scrape_interval: 1s }}\n\
             scrape_configs:\n\
             - job_name: funless\n\
             \x20 file_sd_configs: [ {{ files: [ targets.json ], refresh_interval: 1s }} ]\n\
             \x20 metric_relabel_configs: {rules}\n"
        );
        std::fs::write(folder.path().join("prometheus.yml"), lines).expect("a file");
        write_targets(&folder, targets);
        let server = serve(&address, &folder).await;
        Self { server, address, folder }
    }

    /// From now on it scrapes these `host:port`.
    pub fn scrape(&self, targets: &[String]) {
        write_targets(&self.folder, targets);
    }

    /// Ends it. Its data stay.
    pub async fn stop(&mut self) {
        self.server.stop();
        self.server.ended(STOP_TIMEOUT).await;
    }

    /// Starts one that was stopped.
    pub async fn start_again(&mut self) {
        self.server = serve(&self.address, &self.folder).await;
    }

    /// Where its HTTP interface is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn serve(address: &str, folder: &TempDir) -> Running {
    let mut command = Command::new(installed("prometheus", &[]));
    command.arg("--config.file").arg(folder.path().join("prometheus.yml"));
    command.arg("--storage.tsdb.path").arg(folder.path().join("data"));
    command.args(["--web.listen-address", address]);
    let mut server = Running::start("prometheus", &mut command, &folder.path().join("log"));
    let ready = format!("http://{address}/-/ready");
    server.ready(START_TIMEOUT, async || answers(&ready).await).await;
    server
}

/// Put in place at once: the server may read at any time.
fn write_targets(folder: &TempDir, targets: &[String]) {
    let new = folder.path().join("targets.new");
    let groups = serde_json::json!([{ "targets": targets }]);
    std::fs::write(&new, groups.to_string()).expect("a file");
    std::fs::rename(&new, folder.path().join("targets.json")).expect("a file");
}
