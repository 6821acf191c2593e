//! Services of one's own beside a running mesh: workers and schedulers with any configuration.

use std::process::{Command, ExitStatus};
use std::time::Duration;

use mesh::auth::Secret;
use mesh::{Channel, Dialer};
use serde_json::json;
use tempfile::TempDir;

use crate::Mesh;
use crate::client::http;
use crate::process::{Running, Signal, free_port, without_authorities, workspace_binary};

/// How long one may take until it is ready.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long one may take to drain.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// A worker that has joined a mesh of processes. It drains when it is dropped, and is killed when that
/// takes too long.
#[derive(Debug)]
pub struct ExtraWorker(Extra);

impl ExtraWorker {
    /// Starts one of this name, which has joined when this returns. It is configured as the mesh's first
    /// worker is, but for `settings`: keys and values as after `--set`, such as
    /// `("total_memory_bytes", "100000000")` or `("labels.zone", "edge-1")`.
    pub async fn start(mesh: &Mesh, name: &str, settings: &[(&str, &str)]) -> Self {
        let mut extra = Extra::spawn(mesh, "worker", name, settings);
        extra.ready().await;
        Self(extra)
    }

    /// What scripts call it.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.0.process.pid()
    }

    /// Where it serves gRPC: `http://127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.0.address()
    }

    /// Where its admin endpoints are: `127.0.0.1:PORT`.
    pub fn admin(&self) -> String {
        self.0.admin()
    }

    /// Its page of metrics.
    pub async fn metrics(&self) -> String {
        self.0.metrics().await
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        self.0.process.log()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.0.process.signal(signal);
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        self.0.process.ended(STOP_TIMEOUT).await
    }
}

/// A scheduler beside the one of a mesh of processes, with the same registry and sink. Workers join it
/// that are told to, with the setting `schedulers`.
#[derive(Debug)]
pub struct ExtraScheduler(Extra);

impl ExtraScheduler {
    /// Starts one, which is ready when this returns. Configured as the mesh's own is, but for `settings`.
    pub async fn start(mesh: &Mesh, name: &str, settings: &[(&str, &str)]) -> Self {
        let mut extra = Extra::spawn(mesh, "scheduler", name, settings);
        extra.ready().await;
        Self(extra)
    }

    /// Where it serves gRPC: `http://127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.0.address()
    }

    /// A service's way to it.
    pub fn channel(&self) -> Channel {
        let dialer = Dialer::new(Some(self.0.secret.clone()), None);
        let endpoint = self.address().parse().expect("an endpoint");
        dialer.dial(&endpoint).expect("loopback can be dialled")
    }

    /// Its page of metrics.
    pub async fn metrics(&self) -> String {
        self.0.metrics().await
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        self.0.process.log()
    }
}

/// One process. What it is configured by stays until it has ended.
#[derive(Debug)]
struct Extra {
    process: Running,
    name: String,
    port: u16,
    admin_port: u16,
    secret: Secret,
    _folder: TempDir,
}

impl Extra {
    /// Starts the service `service` of this mesh once more.
    fn spawn(mesh: &Mesh, service: &str, name: &str, settings: &[(&str, &str)]) -> Self {
        assert!(mesh.shape.processes.is_some(), "only a mesh of processes has ports that others can join");
        let example = mesh.data_dir().join(format!("mesh/{service}.toml"));
        let text = std::fs::read_to_string(&example).expect("fl up --mesh writes the configurations");
        let secret = text.lines().find_map(|line| line.strip_prefix("secret = \"")?.strip_suffix('"'));
        let secret = Secret::new(secret.expect("the services of a mesh show each other a secret"));
        let folder = tempfile::Builder::new().prefix("funless-extra-").tempdir().expect("a temporary folder");
        let (port, admin_port) = (free_port(), free_port());
        let mut command = Command::new(workspace_binary(&format!("{service}-svc")));
        command.arg("--config").arg(&example);
        let own = [
            ("server.listen", format!("127.0.0.1:{port}")),
            ("server.admin_listen", format!("127.0.0.1:{admin_port}")),
        ];
        let workers = [
            ("name", name.to_owned()),
            ("cache_dir", folder.path().join("code-cache").display().to_string()),
        ];
        let workers = workers.into_iter().filter(|_| service == "worker");
        for (key, value) in own.into_iter().chain(workers) {
            command.args(["--set", &format!("{key}={}", json!(value))]);
        }
        for (key, value) in settings {
            command.args(["--set", &format!("{key}={value}")]);
        }
        without_authorities(&mut command);
        Self {
            process: Running::start(name, &mut command, &folder.path().join("log")),
            name: name.to_owned(),
            port,
            admin_port,
            secret,
            _folder: folder,
        }
    }

    async fn ready(&mut self) {
        let (client, url) = (http(), format!("http://{}/readyz", self.admin()));
        let ask = async || client.get(&url).send().await.is_ok_and(|page| page.status().is_success());
        self.process.ready(START_TIMEOUT, ask).await;
    }

    async fn metrics(&self) -> String {
        let url = format!("http://{}/metrics", self.admin());
        let page = http().get(url).send().await.expect("it serves metrics");
        page.text().await.expect("a text")
    }

    fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn admin(&self) -> String {
        format!("127.0.0.1:{}", self.admin_port)
    }
}
