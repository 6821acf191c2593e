//! A running mesh.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use serde::Deserialize;
use tempfile::TempDir;

use crate::client::Client;
use crate::process::{
    Running, Signal, free_port, free_ports, send_signal, without_authorities, workspace_binary,
};
use crate::servers::Postgres;
use crate::wait;

/// How long a mesh may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a mesh may take to drain.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// What `fl up` prints when the mesh is ready.
const IS_UP: &str = "FunLess Mesh is up.";

/// How a mesh runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// The shape's name, used in test names.
    pub name: &'static str,
    /// The number of workers if each service is a process; `None` for a single process.
    pub processes: Option<u16>,
    /// Whether it uses PostgreSQL instead of SQLite.
    pub postgres: bool,
}

impl Shape {
    /// Like `fl up` on a small machine.
    pub const ONE_PROCESS: Self = Self { name: "one_process", processes: None, postgres: false };
    /// Like a mesh on a cluster.
    pub const SIX_PROCESSES: Self = Self { name: "six_processes", processes: Some(1), postgres: true };
}

/// One service of a mesh of processes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ServicePlace {
    /// The process id; `None` while the service is being restarted.
    pub pid: Option<u32>,
    /// The gRPC address.
    pub address: String,
    /// The address of the admin port.
    pub admin: String,
}

/// The ports of a mesh on 127.0.0.1.
#[derive(Debug, Clone, Copy)]
struct Ports {
    rest: u16,
    grpc: u16,
    /// The first of the admin ports; each process has one.
    admin: u16,
}

impl Ports {
    fn free(shape: Shape) -> Self {
        let processes = shape.processes.map_or(1, |workers| workers + 5);
        Self { rest: free_port(), grpc: free_port(), admin: free_ports(processes) }
    }
}

/// A mesh, which runs until it is dropped.
#[derive(Debug)]
pub struct Mesh {
    /// The mesh's shape.
    pub shape: Shape,
    fl: Running,
    ports: Ports,
    folder: TempDir,
    postgres: Option<Postgres>,
    /// How often the mesh has been started.
    starts: usize,
}

impl Mesh {
    /// Starts a new mesh and waits until it is ready.
    pub async fn start(shape: Shape) -> Self {
        Self::start_with(shape, &[]).await
    }

    /// Starts a new mesh with additional flags for `fl up`.
    pub async fn start_with(shape: Shape, flags: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("funless-").tempdir().expect("a temporary folder");
        let postgres = if shape.postgres { Some(Postgres::start().await) } else { None };
        let ports = Ports::free(shape);
        let database = postgres.as_ref().map(Postgres::url);
        let mut command = up(shape, &data_dir_of(&folder), ports, database.as_deref());
        let fl = Running::start(shape.name, command.args(flags), &log_of(&folder));
        let mut this = Self { shape, fl, ports, folder, postgres, starts: 1 };
        this.become_ready().await;
        this
    }

    /// Waits until `fl up` reports that the mesh is up, and asserts that it then serves requests.
    async fn become_ready(&mut self) {
        let log = log_of(&self.folder);
        self.fl
            .ready(START_TIMEOUT, async || {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                log.matches(IS_UP).count() == self.starts
            })
            .await;
        self.user().get("/v1/fn").await.expect(200);
    }

    /// A client with the user token that `fl up` has created.
    pub fn user(&self) -> Client {
        self.client("api_token")
    }

    /// A client with the administrator token that `fl up` has created.
    pub fn admin(&self) -> Client {
        self.client("admin_token")
    }

    fn client(&self, key: &str) -> Client {
        let token = token(&self.data_dir(), key).expect("the tokens of the mesh");
        Client::new(&self.rest_url(), Some(&token))
    }

    /// A client without a token.
    pub fn nobody(&self) -> Client {
        Client::new(&self.rest_url(), None)
    }

    /// The REST address: `http://127.0.0.1:PORT`.
    pub fn rest_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.rest)
    }

    /// The gRPC address for clients: `http://127.0.0.1:PORT`.
    pub fn grpc_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.grpc)
    }

    /// The addresses of the processes' admin ports: `127.0.0.1:PORT` each.
    pub fn admin_addresses(&self) -> Vec<String> {
        match self.shape.processes {
            None => vec![format!("127.0.0.1:{}", self.ports.admin)],
            Some(_) => {
                let places = self.services().into_values();
                places.map(|place| place.admin.trim_start_matches("http://").to_owned()).collect()
            }
        }
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        data_dir_of(&self.folder)
    }

    /// The PostgreSQL server, unless the database is embedded.
    pub fn postgres(&self) -> Option<&Postgres> {
        self.postgres.as_ref()
    }

    /// The PostgreSQL server, to stop and restart it.
    pub fn postgres_mut(&mut self) -> Option<&mut Postgres> {
        self.postgres.as_mut()
    }

    /// The complete log and output.
    pub fn log(&self) -> String {
        self.fl.log()
    }

    /// Prints the end of the log.
    pub fn show_log(&self) {
        self.fl.show_log();
    }

    /// The services of a mesh of processes, by name: `registry`, ..., `worker`, `worker-2`.
    pub fn services(&self) -> BTreeMap<String, ServicePlace> {
        let path = self.data_dir().join("mesh.json");
        let text = std::fs::read_to_string(&path).expect("fl up --mesh writes mesh.json");
        serde_json::from_str(&text).expect("valid mesh.json")
    }

    /// The current process id of this service. Waits while the service is being restarted.
    pub async fn pid_of(&self, service: &str) -> u32 {
        let what = format!("{service} runs");
        wait::until(&what, START_TIMEOUT, async || self.services().get(service)?.pid).await
    }

    /// Sends a signal that ends a service, and waits until it has been restarted.
    pub async fn restart_service(&self, service: &str, signal: Signal) {
        let old = self.pid_of(service).await;
        send_signal(old, signal);
        let what = format!("{service} is restarted");
        wait::until(&what, START_TIMEOUT, async || {
            self.services().get(service)?.pid.filter(|new| *new != old)
        })
        .await;
    }

    /// Requests a graceful stop.
    pub fn ask_to_stop(&self) {
        self.fl.signal(Signal::TERM);
    }

    /// Waits until a stopped mesh has exited.
    pub async fn ended(&mut self) -> ExitStatus {
        self.fl.ended(STOP_TIMEOUT).await
    }

    /// Stops the mesh gracefully and restarts it with the same data.
    pub async fn restart(&mut self) {
        self.ask_to_stop();
        let status = self.ended().await;
        assert!(status.success(), "the mesh exited with {status}");
        self.start_again().await;
    }

    /// Kills the process `fl up` without a graceful stop, and restarts it with the same data.
    pub async fn die_and_start_again(&mut self) {
        self.fl.signal(Signal::KILL);
        self.ended().await;
        self.start_again().await;
    }

    async fn start_again(&mut self) {
        let database = self.postgres.as_ref().map(Postgres::url);
        let mut command = up(self.shape, &self.data_dir(), self.ports, database.as_deref());
        self.fl = Running::start(self.shape.name, &mut command, &log_of(&self.folder));
        self.starts += 1;
        self.become_ready().await;
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.fl.stop();
        // A killed supervisor leaves its services behind.
        let services = match self.shape.processes {
            Some(_) if self.data_dir().join("mesh.json").is_file() => self.services(),
            _ => BTreeMap::new(),
        };
        for pid in services.values().filter_map(|service| service.pid) {
            let command_line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&command_line).contains(&*self.data_dir().to_string_lossy()) {
                send_signal(pid, Signal::KILL);
            }
        }
    }
}

/// The command that starts a mesh.
fn up(shape: Shape, data_dir: &Path, ports: Ports, database: Option<&str>) -> Command {
    let mut command = Command::new(workspace_binary("fl"));
    command.arg("up").arg("--data-dir").arg(data_dir);
    for (flag, port) in [("--http", ports.rest), ("--grpc", ports.grpc), ("--admin", ports.admin)] {
        command.args([flag, &format!("127.0.0.1:{port}")]);
    }
    command.args(["--log", "info"]);
    if let Some(workers) = shape.processes {
        command.args(["--mesh", "--workers", &workers.to_string()]);
    }
    if let Some(url) = database {
        command.args(["--database-url", url]);
    }
    without_authorities(&mut command);
    command
}

fn data_dir_of(folder: &TempDir) -> PathBuf {
    folder.path().join("data")
}

fn log_of(folder: &TempDir) -> PathBuf {
    folder.path().join("log")
}

/// Reads a token from the file `config`. Panics if others can access the file.
fn token(data_dir: &Path, key: &str) -> Option<String> {
    let path = data_dir.join("config");
    let text = std::fs::read_to_string(&path).ok()?;
    let mode = std::fs::metadata(&path).ok()?.permissions().mode();
    assert_eq!(mode & 0o077, 0, "{} is accessible to other users", path.display());
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(str::to_owned)
}
