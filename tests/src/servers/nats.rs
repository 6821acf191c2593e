//! NATS with JetStream.

use std::process::Command;

use tempfile::TempDir;

use super::{START_TIMEOUT, public_folder};
use crate::process::{Running, free_port, installed};

/// A NATS server that allows anonymous access.
#[derive(Debug)]
pub struct Nats {
    _server: Running,
    port: u16,
    _folder: TempDir,
}

impl Nats {
    /// Starts a new server.
    pub async fn start() -> Self {
        let folder = public_folder();
        let port = free_port();
        let mut command = Command::new(installed("nats-server", &["/usr/sbin"]));
        command.args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd"]).arg(folder.path());
        let mut server = Running::start("nats-server", &mut command, &folder.path().join("log"));
        server
            .ready(START_TIMEOUT, async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok())
            .await;
        Self { _server: server, port, _folder: folder }
    }

    /// The server's URL.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// A JetStream client.
    pub async fn jetstream(&self) -> async_nats::jetstream::Context {
        let client = async_nats::connect(self.url()).await.expect("failed to connect to NATS");
        async_nats::jetstream::new(client)
    }
}
