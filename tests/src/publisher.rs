//! A publisher of MQTT messages that loses none, whatever its broker does.

use std::ops::Range;
use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, NetworkOptions, Packet, QoS};
use serde_json::json;

/// Messages that are on their way at once.
const WINDOW: usize = 50;
/// Between attempts to reach the broker.
const RECONNECT: Duration = Duration::from_millis(50);

/// Publishes `{"id":N}` for each number, at QoS 1.
#[derive(Debug)]
pub struct Publisher {
    port: u16,
    topic: String,
}

impl Publisher {
    /// To a topic of the broker at this port of 127.0.0.1.
    pub fn new(port: u16, topic: &str) -> Self {
        Self { port, topic: topic.to_owned() }
    }

    /// Ends when the broker has acknowledged a message for each number, at the pace of `per_second`. After
    /// a lost connection the last two windows are sent once more: a broker that was killed has lost what it
    /// acknowledged just before. So a number may be sent twice.
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
                    // Once for each time that the connection is lost, and not for each attempt.
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

    /// Ends when the broker has acknowledged each of the window.
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
