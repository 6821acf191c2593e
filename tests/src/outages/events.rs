//! A steady stream of events through MQTT.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rumqttc::{AsyncClient, Event, MqttOptions, NetworkOptions, Packet, QoS};
use serde_json::json;
use tokio::task::JoinHandle;

/// The number of events per second.
const PER_SECOND: u32 = 20;
/// More than are ever unacknowledged.
const CAPACITY: u16 = 1000;

/// The stream. The broker, which is never away, acknowledges each message `{"id":N}` at QoS 1.
pub(super) struct Events {
    /// When each message was published, by its id.
    published: Arc<Mutex<Vec<Instant>>>,
    stopping: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Events {
    /// Starts publishing to a topic of the broker at this port of 127.0.0.1.
    pub(super) fn start(port: u16, topic: &'static str) -> Self {
        let (published, stopping) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let task = tokio::spawn(publish(port, topic, Arc::clone(&published), Arc::clone(&stopping)));
        Self { published, stopping, task }
    }

    /// The number of messages so far.
    pub(super) fn published(&self) -> u32 {
        u32::try_from(self.published.lock().len()).expect("a small number")
    }

    /// Stops publishing. Returns when each message was published, after the broker has acknowledged all of them.
    pub(super) async fn end(self) -> Vec<Instant> {
        self.stopping.store(true, Ordering::Relaxed);
        self.task.await.expect("the broker is never away");
        std::mem::take(&mut self.published.lock())
    }
}

async fn publish(port: u16, topic: &str, published: Arc<Mutex<Vec<Instant>>>, stopping: Arc<AtomicBool>) {
    let mut options = MqttOptions::new(format!("publisher-{}", std::process::id()), "127.0.0.1", port);
    options.set_inflight(CAPACITY);
    let (client, mut connection) = AsyncClient::new(options, CAPACITY.into());
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    connection.set_network_options(network);
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / PER_SECOND);
    let mut acknowledged = 0;
    loop {
        let is_stopping = stopping.load(Ordering::Relaxed);
        if is_stopping && acknowledged == published.lock().len() {
            return;
        }
        tokio::select! {
            _ = ticks.tick(), if !is_stopping => {
                let mut published = published.lock();
                let message = json!({ "id": published.len() }).to_string();
                client.try_publish(topic, QoS::AtLeastOnce, false, message).expect("there is room");
                published.push(Instant::now());
            }
            event = connection.poll() => {
                if let Event::Incoming(Packet::PubAck(_)) = event.expect("the broker is never away") {
                    acknowledged += 1;
                }
            }
        }
    }
}
