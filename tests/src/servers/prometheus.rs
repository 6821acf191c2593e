//! Prometheus.

use std::process::Command;

use tempfile::TempDir;

use super::{START_TIMEOUT, answers, public_folder};
use crate::process::{Running, free_port, installed};

/// A Prometheus server.
#[derive(Debug)]
pub struct Prometheus {
    _server: Running,
    url: String,
    _folder: TempDir,
}

impl Prometheus {
    /// Starts one that scrapes these `host:port` each second.
    pub async fn start(targets: &[String]) -> Self {
        let folder = public_folder();
        let address = format!("127.0.0.1:{}", free_port());
        let config = folder.path().join("prometheus.yml");
        let targets = serde_json::to_string(targets).expect("a list of texts");
        let lines = format!(
            "global: {{ scrape_interval: 1s }}\n\
             scrape_configs: [ {{ job_name: funless, static_configs: [ {{ targets: {targets} }} ] }} ]\n"
        );
        std::fs::write(&config, lines).expect("a file");
        let mut command = Command::new(installed("prometheus", &[]));
        command.arg("--config.file").arg(&config);
        command.arg("--storage.tsdb.path").arg(folder.path().join("data"));
        command.arg("--web.listen-address").arg(&address);
        let mut server = Running::start("prometheus", &mut command, &folder.path().join("log"));
        let url = format!("http://{address}");
        server.ready(START_TIMEOUT, async || answers(&format!("{url}/-/ready")).await).await;
        Self { _server: server, url, _folder: folder }
    }

    /// Where its HTTP interface is.
    pub fn url(&self) -> &str {
        &self.url
    }
}
