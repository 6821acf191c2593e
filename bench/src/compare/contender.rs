//! Who is measured.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use reqwest::multipart::{Form, Part};
use tempfile::TempDir;
use tests::guests;
use tests::servers::Postgres;
use tokio::process::{Child, Command};

use crate::fl::Fl;

const READY_TIMEOUT: Duration = Duration::from_secs(30);
const READY_POLL: Duration = Duration::from_millis(20);
const WORKERD_CONFIG: &str = include_str!("../../contenders/workerd.capnp");
const WORKERD_FUNCTIONS: &str = include_str!("../../contenders/workerd.js");

/// A server with the functions, which take `{"args": ...}` and answer `{"data": ...}`.
pub struct Contender {
    pub name: String,
    /// The version that it says it has.
    pub version: String,
    /// A function is at this URL, followed by a slash and its name.
    pub base: String,
    pub headers: Vec<(String, String)>,
    _running: Running,
}

/// What is stopped when a contender is dropped.
enum Running {
    Mesh { _fl: Box<Fl>, _database: Option<Box<Postgres>> },
    Program { _child: Child, _folder: TempDir },
    Elsewhere,
}

impl Contender {
    /// `fl up`, in one process or six.
    pub async fn mesh(six_processes: bool) -> anyhow::Result<Self> {
        let name = if six_processes { "six processes" } else { "one process" };
        Self::of_mesh(name, Fl::start(six_processes).await?, None).await
    }

    /// `fl up --mesh` with PostgreSQL.
    pub async fn mesh_on_postgres() -> anyhow::Result<Self> {
        let database = Postgres::start().await;
        let fl = Fl::start_with(true, &["--database-url", &database.url()]).await?;
        Self::of_mesh("six processes, PostgreSQL", fl, Some(database)).await
    }

    async fn of_mesh(name: &str, fl: Fl, database: Option<Postgres>) -> anyhow::Result<Self> {
        upload(&fl.base, &fl.token).await?;
        Ok(Self {
            name: name.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            base: format!("{}/v1/fn/_", fl.base),
            headers: headers(Some(&fl.token)),
            _running: Running::Mesh { _fl: Box::new(fl), _database: database.map(Box::new) },
        })
    }

    /// A FunLess that runs already, upstream's or ours.
    pub async fn funless(url: &str, token: Option<&str>) -> anyhow::Result<Self> {
        let url = url.trim_end_matches('/');
        upload(url, token.unwrap_or_default()).await?;
        Ok(Self {
            name: url.to_owned(),
            version: "unknown".to_owned(),
            base: format!("{url}/v1/fn/_"),
            headers: headers(token),
            _running: Running::Elsewhere,
        })
    }

    /// workerd, with JavaScript functions.
    pub async fn workerd(program: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("workerd.capnp");
        std::fs::write(&config, WORKERD_CONFIG)?;
        std::fs::write(folder.path().join("workerd.js"), WORKERD_FUNCTIONS)?;
        let address = free_address()?;
        let mut command = Command::new(program);
        command.arg("serve").arg("--socket-addr").arg(format!("http={address}")).arg(config);
        Self::of_program("workerd", program, command, &address, folder).await
    }

    /// `wasmtime serve`, with a component of each function: the paths of its requests are not looked at.
    pub async fn wasmtime(program: &Path, component: &Path) -> anyhow::Result<Self> {
        let address = free_address()?;
        let mut command = Command::new(program);
        command.args(["serve", "-Scli", "-Opooling-allocator=y", "--addr", &address]).arg(component);
        Self::of_program("wasmtime serve", program, command, &address, tempfile::tempdir()?).await
    }

    async fn of_program(
        name: &str,
        program: &Path,
        mut command: Command,
        address: &str,
        folder: TempDir,
    ) -> anyhow::Result<Self> {
        let version = Command::new(program).arg("--version").output().await;
        let version = version.with_context(|| format!("cannot run {}", program.display()))?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = child.kill_on_drop(true).spawn()?;
        let started = Instant::now();
        while tokio::net::TcpStream::connect(address).await.is_err() {
            if started.elapsed() > READY_TIMEOUT {
                bail!("{name} is not ready after {READY_TIMEOUT:?}");
            }
            tokio::time::sleep(READY_POLL).await;
        }
        Ok(Self {
            name: name.to_owned(),
            version: String::from_utf8_lossy(&version.stdout).trim().to_owned(),
            base: format!("http://{address}"),
            headers: headers(None),
            _running: Running::Program { _child: child, _folder: folder },
        })
    }
}

fn headers(token: Option<&str>) -> Vec<(String, String)> {
    let token = token.map(|token| ("Authorization".to_owned(), format!("Bearer {token}")));
    std::iter::once(("Content-Type".to_owned(), "application/json".to_owned())).chain(token).collect()
}

/// Uploads the functions to a FunLess.
async fn upload(url: &str, token: &str) -> anyhow::Result<()> {
    for (name, code) in [("hello", guests::hello()), ("echo", guests::echo())] {
        let form = Form::new().text("name", name).part("code", Part::bytes(code).file_name("code.wasm"));
        let request = reqwest::Client::new().post(format!("{url}/v1/fn/_")).bearer_auth(token);
        request.multipart(form).send().await?.error_for_status()?;
    }
    Ok(())
}

fn free_address() -> anyhow::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// The file of a program in `PATH`.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
