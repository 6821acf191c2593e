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
    port: u16,
    _folder: TempDir,
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
        // The data need not survive a crash of the machine.
        for setting in ["fsync=off", "full_page_writes=off", "synchronous_commit=off"] {
            command.arg("-c").arg(setting);
        }
        let server = Running::start("postgres", &mut command, &folder.path().join("log"));
        // SIGTERM would wait for clients to disconnect.
        let mut server = server.stopped_by(Signal::INT);
        let mut ask = Command::new(program("pg_isready"));
        ask.args(["-q", "-h", "127.0.0.1", "-U", "postgres", "-p", &port.to_string()]);
        server.ready(START_TIMEOUT, async || ask.status().is_ok_and(|status| status.success())).await;
        Self { server, port, _folder: folder }
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
