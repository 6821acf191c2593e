//! Mosquitto, an MQTT broker.

use std::process::Command;

use tempfile::TempDir;

use super::{START_TIMEOUT, public_folder};
use crate::process::{Running, free_port, installed};

/// An MQTT broker that takes everyone.
#[derive(Debug)]
pub struct Mosquitto {
    _server: Running,
    port: u16,
    _folder: TempDir,
}

impl Mosquitto {
    /// Starts a new one.
    pub async fn start() -> Self {
        let folder = public_folder();
        let port = free_port();
        let config = folder.path().join("mosquitto.conf");
        let lines = format!("listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n");
        std::fs::write(&config, lines).expect("a file");
        let mut command = Command::new(installed("mosquitto", &["/usr/sbin"]));
        command.arg("-c").arg(&config);
        let mut server = Running::start("mosquitto", &mut command, &folder.path().join("log"));
        server
            .ready(START_TIMEOUT, async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok())
            .await;
        Self { _server: server, port, _folder: folder }
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Publishes a message that the broker keeps for later subscribers.
    pub fn publish_retained(&self, topic: &str, message: &str) {
        let mut publish = self.client("mosquitto_pub");
        let done = publish.args(["-r", "-q", "1", "-t", topic, "-m", message]).status();
        assert!(done.is_ok_and(|status| status.success()), "mosquitto_pub failed");
    }

    /// The next message of a topic.
    pub fn receive(&self, topic: &str) -> String {
        let mut subscribe = self.client("mosquitto_sub");
        let got = subscribe.args(["-C", "1", "-W", "10", "-t", topic]).output().expect("mosquitto_sub runs");
        assert!(got.status.success(), "no message: {}", String::from_utf8_lossy(&got.stderr));
        String::from_utf8_lossy(&got.stdout).trim_end().to_owned()
    }

    fn client(&self, name: &str) -> Command {
        let mut command = Command::new(installed(name, &[]));
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        command
    }
}
