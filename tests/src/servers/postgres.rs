//! PostgreSQL.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{START_TIMEOUT, public_folder};
use crate::process::{Running, Signal, free_port, is_root};

/// A PostgreSQL server with an empty database. It needs no password.
#[derive(Debug)]
pub struct Postgres {
    server: Running,
    command: Command,
    port: u16,
    folder: TempDir,
}

impl Postgres {
    /// Starts a new server.
    pub async fn start() -> Self {
        let folder = public_folder();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).expect("a folder");
        if is_root() {
            let owned = Command::new("chown").arg("postgres").arg(&data).status();
            assert!(owned.is_ok_and(|status| status.success()), "there is no user postgres");
        }
        init(&data);

        let port = free_port();
        let mut command = as_postgres("postgres");
        command.arg("-D").arg(&data).arg("-p").arg(port.to_string()).arg("-k").arg(&data);
        // The data need not survive a crash of the machine, only one of the server.
        for setting in ["fsync=off", "full_page_writes=off"] {
            command.arg("-c").arg(setting);
        }
        let server = spawn(&mut command, &folder);
        let mut this = Self { server, command, port, folder };
        this.listens().await;
        this
    }

    /// Stops the server at once, as in a crash: its connections break, and it has to recover when it is restarted.
    pub async fn die(&mut self) {
        self.server.signal(Signal::QUIT);
        self.server.ended(START_TIMEOUT).await;
    }

    /// Restarts the server with the same data.
    pub fn start_again(&mut self) {
        self.server = spawn(&mut self.command, &self.folder);
    }

    /// Waits until the server accepts connections.
    pub async fn listens(&mut self) {
        let mut ask = Command::new(program("pg_isready"));
        ask.args(["-q", "-h", "127.0.0.1", "-U", "postgres", "-p", &self.port.to_string()]);
        self.server.ready(START_TIMEOUT, async || ask.status().is_ok_and(|status| status.success())).await;
    }

    /// The URL of the database.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Runs SQL and returns the unaligned output of `psql`, without headers.
    pub fn query(&self, sql: &str) -> String {
        let mut psql = Command::new(program("psql"));
        let answer =
            psql.args(["-X", "-A", "-t", "-c", sql, &self.url()]).output().expect("failed to run psql");
        let complaint = String::from_utf8_lossy(&answer.stderr);
        assert!(answer.status.success(), "{sql}: {complaint}");
        String::from_utf8_lossy(&answer.stdout).trim().to_owned()
    }

    /// A dump of the database, as SQL.
    pub fn dump(&self) -> String {
        let dump = Command::new(program("pg_dump")).arg(self.url()).output().expect("failed to run pg_dump");
        assert!(dump.status.success(), "pg_dump: {}", String::from_utf8_lossy(&dump.stderr));
        String::from_utf8_lossy(&dump.stdout).into_owned()
    }

    /// The server's process.
    pub fn process(&self) -> &Running {
        &self.server
    }
}

fn spawn(command: &mut Command, folder: &TempDir) -> Running {
    let server = Running::start("postgres", command, &folder.path().join("log"));
    // SIGTERM would wait for clients to disconnect.
    server.stopped_by(Signal::INT)
}

fn init(data: &Path) {
    let mut initdb = as_postgres("initdb");
    initdb.args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync", "-D"]).arg(data);
    let done = initdb.output().expect("failed to run initdb");
    assert!(done.status.success(), "initdb: {}", String::from_utf8_lossy(&done.stderr));
}

/// Runs one of PostgreSQL's programs as the user postgres, because it refuses to run as root.
fn as_postgres(name: &str) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]).arg(program(name));
        command
    } else {
        Command::new(program(name))
    };
    command.current_dir("/");
    command
}

/// The path of a PostgreSQL program, from the newest installed version.
fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort_by_key(|folder| {
        let version = folder.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        version.and_then(|name| name.parse::<u32>().ok())
    });
    let found = folders.iter().rev().map(|folder| folder.join(name)).find(|program| program.is_file());
    found.unwrap_or_else(|| crate::process::installed(name, &[]))
}
