//! Real stores, each running on a free port until it is dropped.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A CouchDB: PouchDB Server, which implements its protocol and stores everything in files.
pub struct Couch {
    server: Option<Child>,
    port: u16,
    folder: TempDir,
}

impl Couch {
    pub async fn start() -> Self {
        let mut couch = Self { server: None, port: free_port(), folder: folder() };
        couch.listen().await;
        couch
    }

    /// Starts the server with the data that it has stored.
    pub async fn listen(&mut self) {
        let program = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../target/npm/node_modules/pouchdb-server/bin/pouchdb-server"
        );
        assert!(Path::new(program).is_file(), "pouchdb-server is missing; scripts/test installs it");
        let mut command = Command::new("node");
        command.arg(program).args(["--no-stdout-logs", "--host", "127.0.0.1", "--dir", "."]);
        command.arg("--port").arg(self.port.to_string()).current_dir(self.folder.path());
        self.server = Some(spawn(&mut command));
        wait_for_port(self.port).await;
    }

    /// Kills the server.
    pub fn kill(&mut self) {
        self.server.take().into_iter().for_each(end);
    }

    pub fn url(&self, database: &str) -> String {
        format!("http://127.0.0.1:{}/{database}", self.port)
    }

    pub async fn create_database(&self, name: &str) {
        let created = reqwest_client().put(self.url(name)).send().await.expect("an answer");
        assert!(created.status().is_success(), "{}", created.status());
    }

    /// The documents of a database; none while it does not answer.
    pub async fn documents(&self, database: &str) -> Vec<Value> {
        let url = self.url(&format!("{database}/_all_docs?include_docs=true"));
        let Ok(answer) = reqwest_client().get(url).send().await else { return Vec::new() };
        let all: Value = answer.json().await.unwrap_or_default();
        let rows = all["rows"].as_array().cloned().unwrap_or_default();
        rows.into_iter().map(|row| row["doc"].clone()).collect()
    }
}

impl Drop for Couch {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A NATS server with JetStream.
pub struct Nats {
    server: Option<Child>,
    port: u16,
    arguments: &'static [&'static str],
    folder: TempDir,
}

impl Nats {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// One with more arguments.
    pub async fn start_with(arguments: &'static [&'static str]) -> Self {
        let mut nats = Self { server: None, port: free_port(), arguments, folder: folder() };
        nats.listen().await;
        nats
    }

    /// Starts the server with the data that it has stored.
    pub async fn listen(&mut self) {
        let mut command = Command::new("nats-server");
        command.args(["-js", "-a", "127.0.0.1", "-p", &self.port.to_string(), "-sd"]).arg(self.folder.path());
        command.args(self.arguments);
        self.server = Some(spawn(&mut command));
        wait_for_port(self.port).await;
    }

    /// Kills the server.
    pub fn kill(&mut self) {
        self.server.take().into_iter().for_each(end);
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// A client's JetStream.
    pub async fn jetstream(&self) -> async_nats::jetstream::Context {
        let client = async_nats::connect(self.url()).await.expect("a connection");
        async_nats::jetstream::new(client)
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

fn spawn(command: &mut Command) -> Child {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    child.unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn end(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}

async fn wait_for_port(port: u16) {
    let connected = tokio::time::timeout(START_TIMEOUT, async {
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    connected.await.expect("the server listens in time");
}

fn reqwest_client() -> reqwest::Client {
    let client = reqwest::Client::builder().tls_backend_preconfigured(mesh::tls::web()).no_proxy();
    client.build().expect("a client")
}
