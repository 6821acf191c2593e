//! A CouchDB: PouchDB Server, which speaks its protocol.

use std::process::Command;

use tempfile::TempDir;

use super::{START_TIMEOUT, answers, public_folder};
use crate::process::{Running, free_port, installed, repository};

/// A CouchDB that keeps everything in memory and takes everyone.
#[derive(Debug)]
pub struct Couch {
    _server: Running,
    url: String,
    _folder: TempDir,
}

impl Couch {
    /// Starts a new one.
    pub async fn start() -> Self {
        let program = repository().join("target/npm/node_modules/pouchdb-server/bin/pouchdb-server");
        assert!(program.is_file(), "pouchdb-server is not installed; run scripts/test, which installs it");
        let folder = public_folder();
        let port = free_port().to_string();
        let mut command = Command::new(installed("node", &[]));
        command.arg(program).args(["--in-memory", "--host", "127.0.0.1", "--port", &port]);
        command.current_dir(folder.path());
        let mut server = Running::start("pouchdb-server", &mut command, &folder.path().join("log"));
        let url = format!("http://127.0.0.1:{port}");
        server.ready(START_TIMEOUT, async || answers(&url).await).await;
        Self { _server: server, url, _folder: folder }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }
}
