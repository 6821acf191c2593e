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

/// How long a mesh may take until it answers.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a mesh may take to drain.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// What `fl up` prints when the mesh can be used.
const IS_UP: &str = "FunLess Mesh is up.";

/// How a mesh runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// What tests call it.
    pub name: &'static str,
    /// As processes that talk over sockets, and with how many workers; `None`: as one process.
    pub processes: Option<u16>,
    /// Its records are in PostgreSQL, else in SQLite.
    pub postgres: bool,
}

impl Shape {
    /// As `fl up` runs on a small machine.
    pub const ONE_PROCESS: Self = Self { name: "one_process", processes: None, postgres: false };
    /// As it runs on a cluster.
    pub const SIX_PROCESSES: Self = Self { name: "six_processes", processes: Some(1), postgres: true };
}

/// One service of a mesh of processes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ServicePlace {
    /// Its process; `None` while it is started again.
    pub pid: Option<u32>,
    /// Where its gRPC is.
    pub address: String,
    /// Where its admin endpoints are.
    pub admin: String,
}

/// Where a mesh listens on 127.0.0.1.
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

/// A mesh, up until it is dropped.
#[derive(Debug)]
pub struct Mesh {
    /// How it runs.
    pub shape: Shape,
    fl: Running,
    ports: Ports,
    folder: TempDir,
    postgres: Option<Postgres>,
    /// How often it has been started.
    starts: usize,
}

impl Mesh {
    /// Starts a new one, which answers when this returns.
    pub async fn start(shape: Shape) -> Self {
        Self::start_with(shape, &[]).await
    }

    /// Starts a new one with more flags for `fl up`.
    pub async fn start_with(shape: Shape, flags: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("funless-").tempdir().expect("a temporary folder");
        let postgres = if shape.postgres { Some(Postgres::start().await) } else { None };
        let ports = Ports::free(shape);
        let database = postgres.as_ref().map(Postgres::url);
        let mut command = up(shape, &data_dir_of(&folder), ports, database.as_deref());
        let fl = Running::start(shape.name, command.args(flags), &log_of(&folder));
        let mut this = Self { shape, fl, ports, folder, postgres, starts: 1 };
        this.answers().await;
        this
    }

    /// It says that it is up once all services are ready, and not before it answers.
    async fn answers(&mut self) {
        let log = log_of(&self.folder);
        self.fl
            .ready(START_TIMEOUT, async || {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                log.matches(IS_UP).count() == self.starts
            })
            .await;
        self.user().get("/v1/fn").await.expect(200);
    }

    /// The user whose token `fl up` made.
    pub fn user(&self) -> Client {
        self.client("api_token")
    }

    /// The administrator whose token `fl up` made.
    pub fn admin(&self) -> Client {
        self.client("admin_token")
    }

    fn client(&self, key: &str) -> Client {
        let token = token(&self.data_dir(), key).expect("a mesh that is up has made its tokens");
        Client::new(&self.rest_url(), Some(&token))
    }

    /// Someone without a token.
    pub fn nobody(&self) -> Client {
        Client::new(&self.rest_url(), None)
    }

    /// Where REST is: `http://127.0.0.1:PORT`.
    pub fn rest_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.rest)
    }

    /// Where gRPC is for clients: `http://127.0.0.1:PORT`.
    pub fn grpc_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.grpc)
    }

    /// The admin ports of its processes: `127.0.0.1:PORT` each.
    pub fn admin_addresses(&self) -> Vec<String> {
        match self.shape.processes {
            None => vec![format!("127.0.0.1:{}", self.ports.admin)],
            Some(_) => {
                let places = self.services().into_values();
                places.map(|place| place.admin.trim_start_matches("http://").to_owned()).collect()
            }
        }
    }

    /// Where it keeps its data.
    pub fn data_dir(&self) -> PathBuf {
        data_dir_of(&self.folder)
    }

    /// Its database, when that is not embedded.
    pub fn postgres(&self) -> Option<&Postgres> {
        self.postgres.as_ref()
    }

    /// All that it has logged and printed.
    pub fn log(&self) -> String {
        self.fl.log()
    }

    /// Shows the end of its log.
    pub fn show_log(&self) {
        self.fl.show_log();
    }

    /// The services of a mesh of processes, by name: `registry`, ..., `worker`, `worker-2`.
    pub fn services(&self) -> BTreeMap<String, ServicePlace> {
        let path = self.data_dir().join("mesh.json");
        let text = std::fs::read_to_string(&path).expect("fl up --mesh writes mesh.json");
        serde_json::from_str(&text).expect("mesh.json tells of each service")
    }

    /// The process of this service now.
    pub async fn pid_of(&self, service: &str) -> u32 {
        let what = format!("{service} runs");
        wait::until(&what, START_TIMEOUT, async || self.services().get(service)?.pid).await
    }

    /// Ends a service and waits until it has been started again.
    pub async fn restart_service(&self, service: &str, signal: Signal) {
        let old = self.pid_of(service).await;
        send_signal(old, signal);
        let what = format!("{service} is started again");
        wait::until(&what, START_TIMEOUT, async || {
            self.services().get(service)?.pid.filter(|new| *new != old)
        })
        .await;
    }

    /// Asks it to drain.
    pub fn ask_to_stop(&self) {
        self.fl.signal(Signal::TERM);
    }

    /// Waits for the end of a mesh that was asked to stop.
    pub async fn ended(&mut self) -> ExitStatus {
        self.fl.ended(STOP_TIMEOUT).await
    }

    /// Stops it in good order and starts it again on the same data.
    pub async fn restart(&mut self) {
        self.ask_to_stop();
        let status = self.ended().await;
        assert!(status.success(), "a mesh that is asked to stop ends with {status}");
        self.start_again().await;
    }

    /// Kills the process that was started, which cannot stop anything any more, and starts another one on
    /// the same data.
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
        self.answers().await;
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.fl.stop();
        // A supervisor that could not stop its services leaves them behind.
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

/// One line of the file `config`, which only its owner may read.
fn token(data_dir: &Path, key: &str) -> Option<String> {
    let path = data_dir.join("config");
    let text = std::fs::read_to_string(&path).ok()?;
    let mode = std::fs::metadata(&path).ok()?.permissions().mode();
    assert_eq!(mode & 0o077, 0, "{} is open to others", path.display());
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(str::to_owned)
}
