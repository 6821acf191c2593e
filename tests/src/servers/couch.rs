//! PouchDB Server, which implements the CouchDB API.

use std::process::Command;
use std::time::Duration;

use http::Method;
use serde_json::Value;
use tempfile::TempDir;

use super::{START_TIMEOUT, answers, public_folder};
use crate::process::{Running, Signal, free_port, installed, repository};
use crate::{client, wait};

/// A CouchDB server.
#[derive(Debug)]
pub struct Couch {
    server: Running,
    command: Command,
    url: String,
    http: reqwest::Client,
    /// The administrator's name and password; `None`: anonymous access is allowed.
    admin: Option<(&'static str, &'static str)>,
    folder: TempDir,
}

impl Couch {
    /// Starts a new server that keeps everything in memory and allows anonymous access.
    pub async fn start() -> Self {
        Self::start_on(free_port()).await
    }

    /// Like [`Self::start`], on this port.
    pub async fn start_on(port: u16) -> Self {
        Self::start_with(port, &["--in-memory"]).await
    }

    /// Restricts access to this user.
    #[must_use]
    pub async fn protected(mut self, user: &'static str, password: &'static str) -> Self {
        let url = format!("{}/_config/admins/{user}", self.url);
        let made = self.http.put(url).json(password).send().await.expect("a response");
        assert!(made.status().is_success(), "the administrator was not created: {}", made.status());
        self.admin = Some((user, password));
        self
    }

    /// Starts a new server that keeps its documents across restarts.
    pub async fn start_durable() -> Self {
        Self::start_with(free_port(), &["--dir", "."]).await
    }

    async fn start_with(port: u16, arguments: &[&str]) -> Self {
        let program = repository().join("target/npm/node_modules/pouchdb-server/bin/pouchdb-server");
        assert!(program.is_file(), "pouchdb-server is not installed; run scripts/test, which installs it");
        let folder = public_folder();
        let port = port.to_string();
        let mut command = Command::new(installed("node", &[]));
        command.arg(program).args(["--no-stdout-logs", "--host", "127.0.0.1", "--port", &port]);
        command.args(arguments).current_dir(folder.path());
        let server = Running::start("pouchdb-server", &mut command, &folder.path().join("output"));
        let url = format!("http://127.0.0.1:{port}");
        let mut this = Self { server, command, url, http: client::http(), admin: None, folder };
        this.listens().await;
        this
    }

    /// Kills the server.
    pub async fn die(&mut self) {
        self.server.signal(Signal::KILL);
        self.server.ended(START_TIMEOUT).await;
    }

    /// Restarts the server with the same data.
    pub async fn start_again(&mut self) {
        let output = self.folder.path().join("output");
        self.server = Running::start("pouchdb-server", &mut self.command, &output);
        self.listens().await;
    }

    async fn listens(&mut self) {
        let url = self.url.clone();
        self.server.ready(START_TIMEOUT, async || answers(&url).await).await;
    }

    /// The server's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn request(&self, method: Method, url: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, url);
        match self.admin {
            Some((user, password)) => request.basic_auth(user, Some(password)),
            None => request,
        }
    }

    /// Creates a database and returns its URL.
    pub async fn create_database(&self, name: &str) -> String {
        let url = format!("{}/{name}", self.url);
        let created = self.request(Method::PUT, &url).send().await.expect("a response");
        assert!(created.status().is_success(), "{name} was not created: {}", created.status());
        // The server responds before it has stored the new database; the write waits for that.
        self.write(name, "first").await;
        url
    }

    /// Writes a document and deletes it again.
    async fn write(&self, database: &str, id: &str) {
        let url = format!("{}/{database}/{id}", self.url);
        let written = self.request(Method::PUT, &url).json(&Value::Object(Default::default())).send();
        let written: Value = written.await.expect("a response").json().await.expect("JSON");
        let revision = written["rev"].as_str().expect("a revision");
        let url = format!("{url}?rev={revision}");
        self.request(Method::DELETE, &url).send().await.expect("a response");
    }

    /// The number of documents in a database; `None` if there is no response.
    pub async fn count(&self, database: &str) -> Option<u64> {
        let url = format!("{}/{database}", self.url);
        let about = self.request(Method::GET, &url).send().await.ok()?;
        about.json::<Value>().await.ok()?["doc_count"].as_u64()
    }

    /// What the server says about a database, or why it does not, for messages of failures.
    pub async fn describe(&self, database: &str) -> String {
        let request =
            self.request(Method::GET, &format!("{}/{database}", self.url)).timeout(Duration::from_secs(5));
        match request.send().await {
            Ok(response) => format!("{}: {:?}", response.status(), response.text().await),
            Err(error) => format!("{error:?}"),
        }
    }

    /// Waits until a database has this many documents, and returns all of them.
    pub async fn documents(&self, database: &str, count: u64, limit: Duration) -> Vec<Value> {
        let what = format!("there are {count} documents in {database}");
        wait::until(&what, limit, async || (self.count(database).await? >= count).then_some(())).await;
        let url = format!("{}/{database}/_all_docs?include_docs=true", self.url);
        let all: Value =
            self.request(Method::GET, &url).send().await.expect("a response").json().await.expect("JSON");
        let rows = all["rows"].as_array().expect("rows").iter();
        rows.map(|row| row["doc"].clone()).collect()
    }
}
