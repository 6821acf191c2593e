//! A PostgreSQL server of this test process. The first test that needs it starts it; it stops with the process, however
//! that ends.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use sea_orm::sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

/// Prints the directory of the server's socket once it accepts connections, and runs until its input ends.
const SERVER: &str = r#"
set -eu
PATH="$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1):$PATH"
dir=$(mktemp -d)
trap 'pg_ctl stop -s -D "$dir/data" -m immediate; rm -rf "$dir"' EXIT
initdb -D "$dir/data" -U postgres --auth trust --no-sync >"$dir/log" 2>&1
pg_ctl start -s -w -D "$dir/data" -l "$dir/log" \
    -o "-k $dir -c listen_addresses= -c fsync=off -c max_connections=300" || { cat "$dir/log" >&2; exit 1; }
echo "$dir"
read -r _ || true
"#;

struct Server {
    /// Holds the pipe whose end is the server's end.
    _shell: Child,
    socket_dir: String,
}

/// A fresh database, by its name.
pub async fn create_database() -> String {
    static DATABASES: AtomicU32 = AtomicU32::new(0);
    let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    administrate(&format!("CREATE DATABASE {name}")).await;
    name
}

/// A fresh database whose tables are in this directory, which must belong to the user `postgres`.
pub async fn create_database_in(directory: &Path) -> String {
    let name = create_database().await;
    administrate(&format!("CREATE TABLESPACE {name} LOCATION '{}'", directory.display())).await;
    administrate(&format!("ALTER DATABASE {name} SET TABLESPACE {name}")).await;
    name
}

/// The URL of a database.
pub fn url(database: &str) -> String {
    format!("postgres://postgres@localhost/{database}?host={}", server().socket_dir)
}

/// A connection to a database, beside those of the service under test.
pub async fn connect(database: &str) -> PgConnection {
    PgConnection::connect(&url(database)).await.expect("the server runs")
}

/// Makes a database unavailable, also to those connected to it.
pub async fn take_away(database: &str) {
    administrate(&format!("ALTER DATABASE {database} ALLOW_CONNECTIONS false")).await;
    administrate(&format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
    ))
    .await;
}

/// Makes a database available again.
pub async fn give_back(database: &str) {
    administrate(&format!("ALTER DATABASE {database} ALLOW_CONNECTIONS true")).await;
}

async fn administrate(statement: &str) {
    let mut connection = connect("postgres").await;
    connection.execute(AssertSqlSafe(statement.to_owned())).await.expect(statement);
    connection.close().await.expect("a connection");
}

fn server() -> &'static Server {
    static RUNNING: OnceLock<Server> = OnceLock::new();
    RUNNING.get_or_init(|| {
        let mut shell = shell_for_server();
        shell.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped());
        // A Ctrl-C for the tests must not reach the shell, which has to clean up.
        shell.process_group(0);
        let mut shell = shell.spawn().expect("a shell");
        let mut socket_dir = String::new();
        BufReader::new(shell.stdout.take().expect("piped")).read_line(&mut socket_dir).expect("a pipe");
        assert!(!socket_dir.is_empty(), "no PostgreSQL server; is the package postgresql installed?");
        Server { _shell: shell, socket_dir: socket_dir.trim_end().to_owned() }
    })
}

/// PostgreSQL refuses to run as root.
fn shell_for_server() -> Command {
    let user = Command::new("id").arg("-u").output().expect("a Unix system").stdout;
    if user.trim_ascii() != b"0" {
        let mut shell = Command::new("sh");
        shell.args(["-c", SERVER]);
        return shell;
    }
    let mut shell = Command::new("setpriv");
    shell.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "sh", "-c", SERVER]);
    shell
}
