//! An MQTT publisher that loses no messages, even if its broker is killed.

use std::ops::Range;
use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, NetworkOptions, Packet, QoS};
use serde_json::json;

/// The number of messages in flight.
const WINDOW: usize = 50;
/// The delay between connection attempts.
const RECONNECT: Duration = Duration::from_millis(50);

/// Publishes messages `{"id":N}` at QoS 1.
#[derive(Debug)]
pub struct Publisher {
    port: u16,
    topic: String,
}

impl Publisher {
    /// A publisher for a topic of the broker at this port of 127.0.0.1.
    pub fn new(port: u16, topic: &str) -> Self {
        Self { port, topic: topic.to_owned() }
    }

    /// Publishes a message for each number at the rate `per_second`, and returns when the broker has
    /// acknowledged all of them. After a lost connection the last two windows are sent again, because a
    /// killed broker may have lost messages that it has just acknowledged. Therefore a number may be sent
    /// twice.
    pub async fn publish(&self, numbers: Range<u32>, per_second: u32) {
        let numbers: Vec<_> = numbers.collect();
        let windows: Vec<_> = numbers.chunks(WINDOW).collect();
        let mut pace = tokio::time::interval(Duration::from_secs_f64(WINDOW as f64 / f64::from(per_second)));
        let mut next = 0;
        let mut is_lost = false;
        while next < windows.len() {
            let (client, mut connection) = self.connect();
            while let Some(window) = windows.get(next) {
                pace.tick().await;
                if self.send(&client, &mut connection, window).await.is_err() {
                    // Go back once for each lost connection, not for each failed attempt.
                    next = if is_lost { next } else { next.saturating_sub(2) };
                    is_lost = true;
                    tokio::time::sleep(RECONNECT).await;
                    break;
                }
                is_lost = false;
                next += 1;
            }
            let _ = client.try_disconnect();
        }
    }

    fn connect(&self) -> (AsyncClient, EventLoop) {
        let name = format!("publisher-{}-{}", std::process::id(), self.topic.replace('/', "-"));
        let mut options = MqttOptions::new(name, "127.0.0.1", self.port);
        options.set_inflight(u16::try_from(WINDOW).expect("small"));
        let (client, mut connection) = AsyncClient::new(options, 2 * WINDOW);
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        connection.set_network_options(network);
        (client, connection)
    }

    /// Sends one window and waits until the broker has acknowledged all of its messages.
    async fn send(
        &self,
        client: &AsyncClient,
        connection: &mut EventLoop,
        window: &[u32],
    ) -> Result<(), rumqttc::ConnectionError> {
        for number in window {
            let message = json!({ "id": number }).to_string();
            client.try_publish(&self.topic, QoS::AtLeastOnce, false, message).expect("there is room");
        }
        let mut acknowledged = 0;
        while acknowledged < window.len() {
            if let Event::Incoming(Packet::PubAck(_)) = connection.poll().await? {
                acknowledged += 1;
            }
        }
        Ok(())
    }
}
