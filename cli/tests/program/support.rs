//! Runs the program, and a mesh that answers with the examples of the REST API.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Response, StatusCode, header};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinHandle;

/// What a command printed, and its exit code.
pub struct Printed {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl fmt::Display for Printed {
    /// As it is in snapshots.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.code != Some(0) {
            writeln!(formatter, "exit code: {:?}", self.code.unwrap_or_default())?;
        }
        formatter.write_str(&self.out)?;
        for line in self.err.lines() {
            writeln!(formatter, "stderr: {line}")?;
        }
        Ok(())
    }
}

/// A folder that is the home directory, too, and has no mesh.
pub struct Home(tempfile::TempDir);

impl Home {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, content).expect("written");
        path
    }

    /// A command line, whose words have no spaces.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fl"));
        command.args(line.split(' ').filter(|word| !word.is_empty())).current_dir(self.path());
        command.env("HOME", self.path()).env("COLUMNS", "100").kill_on_drop(true);
        for variable in ["FL_API_HOST", "FL_API_TOKEN", "FL_CONFIG", "NO_COLOR", "CLICOLOR_FORCE"] {
            command.env_remove(variable);
        }
        // It would be read with each start.
        command.env("SSL_CERT_FILE", "/nonexistent").env("SSL_CERT_DIR", "/nonexistent");
        command
    }

    /// Runs a command line.
    pub async fn run(&self, line: &str) -> Printed {
        self.print(self.command(line)).await
    }

    /// Runs a command line with another variable.
    pub async fn run_with(&self, line: &str, name: &str, value: impl AsRef<OsStr>) -> Printed {
        let mut command = self.command(line);
        command.env(name, value);
        self.print(command).await
    }

    async fn print(&self, mut command: Command) -> Printed {
        let output = command.output().await.expect("it runs");
        // Paths differ from run to run.
        let home = self.path().to_string_lossy().into_owned();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).replace(&home, "HOME");
        Printed { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// A server instead of a mesh.
pub struct Fake {
    pub url: String,
    server: JoinHandle<()>,
}

impl Fake {
    /// Answers each request with the example in the documentation of its route.
    pub async fn of_examples() -> Self {
        let read = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
        let document = read(include_str!("../../../gateway-svc/openapi.json"));
        let examples = read(include_str!("../../../gateway-svc/src/rest/docs/examples.json"));
        Self::start(move |request| {
            let method = request.method().as_str().to_lowercase();
            let operation = operation(&document, &method, request.uri().path());
            let example = &examples["operations"][&operation]["response"];
            match (method.as_str(), example) {
                (_, Value::Null) => answer(204, ""),
                ("post", _) if operation.starts_with("create_") => answer(201, &example.to_string()),
                _ => answer(200, &example.to_string()),
            }
        })
        .await
    }

    /// Answers each request with this status and body.
    pub async fn answering(status: u16, body: &'static str) -> Self {
        Self::start(move |_| answer(status, body)).await
    }

    /// Answers with what `respond` makes of a request.
    pub async fn start(respond: impl Fn(&Request) -> Response<Body> + Send + Sync + 'static) -> Self {
        let respond = Arc::new(respond);
        let router = Router::new().fallback(move |request: Request| {
            let respond = Arc::clone(&respond);
            async move {
                let response = respond(&request);
                // Who does not read a body closes the connection while it is sent.
                let _ = axum::body::to_bytes(request.into_body(), usize::MAX).await;
                response
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { url, server }
    }

    /// Runs a command line as a user of this mesh.
    pub async fn run(&self, home: &Home, line: &str) -> Printed {
        let mut printed = home.run(&format!("--host {} --token t {line}", self.url)).await;
        // So does the port.
        printed.out = printed.out.replace(&self.url, "http://MESH");
        printed.err = printed.err.replace(&self.url, "http://MESH");
        printed
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// An answer in JSON.
pub fn answer(status: u16, body: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_owned()));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    response.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().expect("a value"));
    response
}

/// The operation of a route in an OpenAPI document.
fn operation(document: &Value, method: &str, path: &str) -> String {
    let matches = |template: &str| {
        let (parts, given): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
        parts.len() == given.len()
            && parts.iter().zip(&given).all(|(part, given)| part.starts_with('{') || part == given)
    };
    let paths = document["paths"].as_object().expect("paths");
    // Words go before parameters.
    let mut found: Vec<_> = paths.iter().filter(|(template, _)| matches(template)).collect();
    found.sort_by_key(|(template, _)| template.matches('{').count());
    let operation = found.first().map(|(_, methods)| &methods[method]["operationId"]);
    operation.and_then(Value::as_str).unwrap_or_else(|| panic!("no route {method} {path}")).to_owned()
}
