//! Additional services beside a running mesh: workers and schedulers with any configuration.

use std::process::{Command, ExitStatus};
use std::time::Duration;

use mesh::auth::Secret;
use mesh::{Channel, Dialer};
use serde_json::json;
use tempfile::TempDir;

use crate::Mesh;
use crate::client::http;
use crate::process::{Running, Signal, free_port, without_authorities, workspace_binary};

/// How long a service may take to become ready.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a service may take to drain.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// A worker that has joined a mesh of processes. Dropping it drains it, or kills it if that takes too long.
#[derive(Debug)]
pub struct ExtraWorker(Extra);

impl ExtraWorker {
    /// Starts a worker with this name and waits until it has joined. It has the configuration of the mesh's
    /// first worker, overridden by `settings`: keys and values as for `--set`, such as
    /// `("total_memory_bytes", "100000000")` or `("labels.zone", "edge-1")`.
    pub async fn start(mesh: &Mesh, name: &str, settings: &[(&str, &str)]) -> Self {
        let mut extra = Extra::spawn(mesh, "worker", name, settings);
        extra.ready().await;
        Self(extra)
    }

    /// The worker's name, as used in scripts.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.0.process.pid()
    }

    /// The gRPC address: `http://127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.0.address()
    }

    /// The address of the admin port: `127.0.0.1:PORT`.
    pub fn admin(&self) -> String {
        self.0.admin()
    }

    /// The content of `/metrics`.
    pub async fn metrics(&self) -> String {
        self.0.metrics().await
    }

    /// The complete log.
    pub fn log(&self) -> String {
        self.0.process.log()
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: Signal) {
        self.0.process.signal(signal);
    }

    /// Waits until the process has exited.
    pub async fn ended(&mut self) -> ExitStatus {
        self.0.process.ended(STOP_TIMEOUT).await
    }
}

/// A second scheduler for a mesh of processes, with the same registry and sink. Workers join it if their
/// setting `schedulers` includes it.
#[derive(Debug)]
pub struct ExtraScheduler(Extra);

impl ExtraScheduler {
    /// Starts a scheduler and waits until it is ready. It has the configuration of the mesh's scheduler,
    /// overridden by `settings`.
    pub async fn start(mesh: &Mesh, name: &str, settings: &[(&str, &str)]) -> Self {
        let mut extra = Extra::spawn(mesh, "scheduler", name, settings);
        extra.ready().await;
        Self(extra)
    }

    /// The gRPC address: `http://127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.0.address()
    }

    /// A channel to the scheduler, authenticated as a service.
    pub fn channel(&self) -> Channel {
        let dialer = Dialer::new(Some(self.0.secret.clone()), None);
        let endpoint = self.address().parse().expect("an endpoint");
        dialer.dial(&endpoint).expect("a channel")
    }

    /// The content of `/metrics`.
    pub async fn metrics(&self) -> String {
        self.0.metrics().await
    }

    /// The complete log.
    pub fn log(&self) -> String {
        self.0.process.log()
    }
}

/// One process. Its files are kept until it has exited.
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
    /// Starts another process of the service `service` of this mesh.
    fn spawn(mesh: &Mesh, service: &str, name: &str, settings: &[(&str, &str)]) -> Self {
        assert!(
            mesh.shape.processes.is_some(),
            "only a mesh of processes has ports that other services can join"
        );
        let example = mesh.data_dir().join(format!("mesh/{service}.toml"));
        let text = std::fs::read_to_string(&example).expect("fl up --mesh writes the configurations");
        let secret = text.lines().find_map(|line| line.strip_prefix("secret = \"")?.strip_suffix('"'));
        let secret = Secret::new(secret.expect("the configuration contains a secret"));
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
        let page = http().get(url).send().await.expect("a response from /metrics");
        page.text().await.expect("a text")
    }

    fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn admin(&self) -> String {
        format!("127.0.0.1:{}", self.admin_port)
    }
}
