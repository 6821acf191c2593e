//! Mosquitto, an MQTT broker.

use std::fmt::Write as _;
use std::process::Command;

use tempfile::TempDir;

use super::{START_TIMEOUT, public_folder};
use crate::process::{Running, Signal, free_port, installed};

/// An MQTT broker that allows anonymous access.
#[derive(Debug)]
pub struct Mosquitto {
    server: Running,
    command: Command,
    port: u16,
    folder: TempDir,
}

impl Mosquitto {
    /// Starts a new broker that keeps everything in memory.
    pub async fn start() -> Self {
        Self::start_on(free_port()).await
    }

    /// Like [`Self::start`], on this port.
    pub async fn start_on(port: u16) -> Self {
        Self::start_with(port, "persistence false\n").await
    }

    /// Starts a new broker that keeps sessions and messages across restarts. It writes them periodically, not
    /// before it acknowledges them, so a killed broker may lose what it has just acknowledged.
    pub async fn start_durable() -> Self {
        let durable = "persistence true\nautosave_on_changes true\nautosave_interval 1\n";
        Self::start_with(free_port(), durable).await
    }

    async fn start_with(port: u16, persistence: &str) -> Self {
        let folder = public_folder();
        let config = folder.path().join("mosquitto.conf");
        let data = folder.path().join("data");
        std::fs::create_dir(&data).expect("a folder");
        let mut lines = format!("listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n");
        write!(lines, "user root\npersistence_location {}/\n{persistence}", data.display()).expect("a text");
        std::fs::write(&config, lines).expect("a file");
        let mut command = Command::new(installed("mosquitto", &["/usr/sbin"]));
        command.arg("-c").arg(&config);
        let server = Running::start("mosquitto", &mut command, &folder.path().join("log"));
        let mut this = Self { server, command, port, folder };
        this.listens().await;
        this
    }

    /// Kills the broker and restarts it with the same data.
    pub async fn die_and_start_again(&mut self) {
        self.die().await;
        self.start_again().await;
    }

    /// Kills the broker.
    pub async fn die(&mut self) {
        self.server.signal(Signal::KILL);
        self.server.ended(START_TIMEOUT).await;
    }

    /// Restarts the broker with the same data.
    pub async fn start_again(&mut self) {
        self.server = Running::start("mosquitto", &mut self.command, &self.folder.path().join("log"));
        self.listens().await;
    }

    async fn listens(&mut self) {
        let port = self.port;
        self.server
            .ready(START_TIMEOUT, async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok())
            .await;
    }

    /// The broker's port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Publishes a message at QoS 1.
    pub fn publish(&self, topic: &str, message: &str) {
        self.publish_with(&["-t", topic, "-m", message]);
    }

    /// Publishes a retained message.
    pub fn publish_retained(&self, topic: &str, message: &str) {
        self.publish_with(&["-r", "-t", topic, "-m", message]);
    }

    /// Publishes at QoS 1 with these arguments of `mosquitto_pub`.
    pub fn publish_with(&self, arguments: &[&str]) {
        let mut publish = self.client("mosquitto_pub");
        let done = publish.args(["-q", "1"]).args(arguments).status();
        assert!(done.is_ok_and(|status| status.success()), "mosquitto_pub failed");
    }

    /// Waits for the next message of a topic.
    pub fn receive(&self, topic: &str) -> String {
        let mut subscribe = self.client("mosquitto_sub");
        let got = subscribe
            .args(["-C", "1", "-W", "10", "-t", topic])
            .output()
            .expect("failed to run mosquitto_sub");
        assert!(got.status.success(), "no message: {}", String::from_utf8_lossy(&got.stderr));
        String::from_utf8_lossy(&got.stdout).trim_end().to_owned()
    }

    fn client(&self, name: &str) -> Command {
        let mut command = Command::new(installed(name, &[]));
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        command
    }
}
