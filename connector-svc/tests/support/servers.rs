//! Real servers of this test process, each on a free port and gone with its value.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use mesh::testing::eventually;
use tempfile::TempDir;
use tokio::net::TcpStream;

/// A port that is free now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("bound").port()
}

/// A program that runs until it is killed or dropped.
struct Program(Child);

impl Program {
    async fn start(mut command: Command, port: u16, log: &Path) -> Self {
        let log = std::fs::File::options().create(true).append(true).open(log).expect("a log");
        let errors = log.try_clone().expect("a handle");
        let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
        let program = Self(child.unwrap_or_else(|error| panic!("{command:?}: {error}")));
        let listens = async || TcpStream::connect(("127.0.0.1", port)).await.is_ok();
        eventually(&format!("{command:?} listens"), listens).await;
        program
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // As kill -9 does.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An MQTT broker.
pub struct Mosquitto {
    pub port: u16,
    config: String,
    folder: TempDir,
    program: Option<Program>,
}

impl Mosquitto {
    /// One that takes everyone, and keeps what it has on disk.
    pub async fn start() -> Self {
        Self::start_with("allow_anonymous true\n").await
    }

    /// One with more lines of configuration.
    pub async fn start_with(lines: &str) -> Self {
        let (port, folder) = (free_port(), tempfile::tempdir().expect("a directory"));
        let config = format!(
            "listener {port} 127.0.0.1\nuser root\npersistence true\npersistence_location {}/\n\
             autosave_on_changes true\nautosave_interval 1\n{lines}",
            folder.path().display()
        );
        let mut broker = Self { port, config, folder, program: None };
        broker.start_again().await;
        broker
    }

    /// Where other files of the configuration can be.
    pub fn write(folder: &TempDir, name: &str, content: &str) -> String {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("a file");
        path.display().to_string()
    }

    /// Kills it at once.
    pub fn kill(&mut self) {
        self.program = None;
    }

    /// Kills it and loses all that it has kept.
    pub fn kill_and_delete_state(&mut self) {
        self.program = None;
        let _ = std::fs::remove_file(self.folder.path().join("mosquitto.db"));
    }

    /// Starts it again on the same port.
    pub async fn start_again(&mut self) {
        let config = Self::write(&self.folder, "mosquitto.conf", &self.config);
        let mut command = Command::new("mosquitto");
        command.env("PATH", path()).args(["-c", &config]);
        self.program = Some(Program::start(command, self.port, &self.folder.path().join("log")).await);
    }

    /// Publishes with these arguments of `mosquitto_pub`, at QoS 1 unless they say something else.
    pub fn publish(&self, arguments: &[&str]) {
        let mut command = Command::new("mosquitto_pub");
        command.env("PATH", path()).args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        let done = command.args(["-V", "mqttv5", "-q", "1"]).args(arguments).output().expect("it runs");
        assert!(done.status.success(), "mosquitto_pub: {}", String::from_utf8_lossy(&done.stderr));
    }
}

/// A NATS server with JetStream.
pub struct Nats {
    pub port: u16,
    arguments: &'static [&'static str],
    folder: TempDir,
    program: Option<Program>,
}

impl Nats {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// One with more arguments.
    pub async fn start_with(arguments: &'static [&'static str]) -> Self {
        let (port, folder) = (free_port(), tempfile::tempdir().expect("a directory"));
        let mut server = Self { port, arguments, folder, program: None };
        server.start_again().await;
        server
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Kills it at once.
    pub fn kill(&mut self) {
        self.program = None;
    }

    /// Starts it again on the same port with what it has kept.
    pub async fn start_again(&mut self) {
        let mut command = Command::new("nats-server");
        command.env("PATH", path()).args(["-a", "127.0.0.1", "-p", &self.port.to_string(), "-js", "-sd"]);
        command.arg(self.folder.path()).args(self.arguments);
        self.program = Some(Program::start(command, self.port, &self.folder.path().join("log")).await);
    }

    /// A client of it.
    pub async fn jetstream(&self) -> async_nats::jetstream::Context {
        async_nats::jetstream::new(async_nats::connect(self.url()).await.expect("the server runs"))
    }
}

/// Debian has servers where users do not look.
fn path() -> String {
    #[expect(clippy::disallowed_methods, reason = "it is not configuration of ours")]
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/sbin")
}
