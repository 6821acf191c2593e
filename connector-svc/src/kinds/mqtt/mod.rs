//! MQTT.
//!
//! Each binding has a persistent session at the broker. A message is acknowledged when its event has ended;
//! until then the broker redelivers it to the next holder of the binding, and `session` recognises it.
//!
//! At most `max_in_flight` events are handled at once. With MQTT 5 and QoS 1 the broker knows this limit.
//! Otherwise the connection is not read while the limit is reached. Then no pings are sent either, and the broker
//! closes the connection when functions take longer than its keep-alive timeout. That costs a reconnect, but no
//! message of QoS 1. The same holds for large messages, of which at most [`MAX_PAYLOAD_BYTES`] and one more are handled at
//! once.

mod client;
mod connection;
mod dial;
pub(super) mod fuzzing;
mod params;
mod session;
#[cfg(test)]
mod session_tests;

use std::time::Duration;

use mesh::bindings::{End, HeldBinding};
use mesh::egress::{MAX_PAYLOAD_BYTES, Outbound};
use mesh::hash::{Hash, Hasher};
use tokio::task::JoinSet;
use uuid::Uuid;

use self::client::{ClientEvent, Message};
use self::connection::{Connection, end_session};
pub(crate) use self::params::Params;
use self::session::{Action, Cleanup, Packet, Session};
use super::connection_status::ConnectionStatus;
use super::shutdown::{DISCONNECT_TIMEOUT, DRAIN_TIMEOUT, unless_panicked};
use crate::arrival::{Abandoned, Arrival};
use crate::event::Event;
use crate::intake::Intake;
use crate::journal::Entry;

/// How often entries that are no longer needed are removed from the journal.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(1);

/// Hands the messages to `intake` until the lease ends.
pub(crate) async fn run(
    params: Params,
    outbound: Outbound,
    intake: Intake,
    entries: Vec<Entry>,
    held: HeldBinding,
) {
    let client_id = format!("funless-{}", intake.binding_id());
    let window = intake.handling().max_in_flight;
    let mut subscriber = Subscriber {
        intake: &intake,
        connection: Connection::new(&params, &outbound, &client_id, window, &held),
        session: Session::new(entries),
        status: ConnectionStatus::new(&held.report, intake.metrics()),
        handling: JoinSet::new(),
        handled_bytes: 0,
        cleanups: JoinSet::new(),
    };
    let end = subscriber.run(&held).await;
    intake.stop();
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, subscriber.drain()).await;
    if subscriber.status.is_connected() {
        let _ = tokio::time::timeout(DISCONNECT_TIMEOUT, subscriber.connection.disconnect()).await;
    }
    subscriber.handling.shutdown().await;
    drop(subscriber);
    if end == End::Removed {
        intake.mark_all_lost().await;
        let ended = Box::pin(end_session(&params, &outbound, &client_id));
        let ended = tokio::time::timeout(DISCONNECT_TIMEOUT, ended).await;
        if !matches!(ended, Ok(Ok(()))) {
            tracing::info!(
                binding = intake.binding_id(),
                ?ended,
                "the broker keeps the session until it expires"
            );
        }
    }
}

/// An event that has been handled, or abandoned.
struct HandledEvent {
    /// The packet that it came with, and its number there; `None` if it is not to be acknowledged.
    packet: Option<(u16, u64)>,
    /// The length of its payload.
    bytes: usize,
    outcome: Result<Option<Uuid>, Abandoned>,
}

/// Receives messages and acknowledges them.
struct Subscriber<'a> {
    intake: &'a Intake,
    connection: Connection<'a>,
    session: Session,
    status: ConnectionStatus<'a>,
    handling: JoinSet<HandledEvent>,
    /// The length of the payloads of the events that are being handled.
    handled_bytes: usize,
    cleanups: JoinSet<()>,
}

impl Subscriber<'_> {
    async fn run(&mut self, held: &HeldBinding) -> End {
        let mut cleanup = tokio::time::interval(CLEANUP_INTERVAL);
        loop {
            let max_in_flight = self.intake.handling().max_in_flight;
            let has_capacity = has_capacity(self.handling.len(), self.handled_bytes, max_in_flight);
            tokio::select! {
                end = held.ended() => return end,
                Some(handled) = self.handling.join_next() => match self.handled(unless_panicked(handled)) {
                    Ok(()) => {}
                    // The binding restarts, with everything that the journal knows.
                    Err(Abandoned) => return End::HandOver,
                },
                event = self.connection.next(), if has_capacity => match event {
                    Ok(event) => self.take(event),
                    Err(lost) => {
                        self.session.disconnected();
                        self.status.disconnected(lost.0);
                    }
                },
                _ = cleanup.tick() => self.clean_up(),
            }
        }
    }

    /// Waits for the events in flight, and accepts no new ones.
    async fn drain(&mut self) {
        while !self.handling.is_empty() {
            tokio::select! {
                Some(handled) = self.handling.join_next() => {
                    // An abandoned event is redelivered.
                    let _ = self.handled(unless_panicked(handled));
                }
                event = self.connection.next() => match event {
                    Ok(ClientEvent::Connected { session_present }) => self.session.connected(session_present),
                    Ok(_) => {}
                    Err(_) => self.session.disconnected(),
                },
            }
        }
    }

    fn take(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Connected { session_present } => self.session.connected(session_present),
            ClientEvent::Subscribed(_) => self.status.connected(),
            ClientEvent::Message(message) => self.receive(message),
            ClientEvent::Acknowledged(packet) => self.session.acknowledged(packet),
            ClientEvent::Pinged => self.session.pinged(),
            ClientEvent::Ponged => {
                let is_full = self.handling.len() >= usize::from(self.intake.handling().max_in_flight);
                self.session.ponged(is_full);
            }
            ClientEvent::Disconnected => {}
        }
    }

    fn receive(&mut self, message: Message) {
        self.status.active();
        if message.packet_id == 0 {
            return self.handle(message, Arrival::Once, None);
        }
        let (id, duplicate) = (message.packet_id, message.duplicate);
        let packet = Packet { id, duplicate, fingerprint: fingerprint(&message) };
        match self.session.arrived(packet) {
            Action::Handle(arrival, number) => self.handle(message, arrival, Some((id, number))),
            Action::Wait => {}
            Action::Acknowledge => self.connection.acknowledge(id),
        }
    }

    fn handle(&mut self, message: Message, arrival: Arrival, packet: Option<(u16, u64)>) {
        let (intake, bytes) = (self.intake.clone(), message.payload.len());
        self.handled_bytes += bytes;
        self.handling.spawn(async move {
            let outcome = intake.handle(event(message), arrival).await;
            HandledEvent { packet, bytes, outcome }
        });
    }

    fn handled(&mut self, handled: HandledEvent) -> Result<(), Abandoned> {
        self.handled_bytes -= handled.bytes;
        if let (Some((packet, number)), Some(id)) = (handled.packet, handled.outcome?)
            && self.session.ended(packet, number, id)
        {
            self.connection.acknowledge(packet);
        }
        Ok(())
    }

    /// Removes entries from the journal that are no longer needed.
    fn clean_up(&mut self) {
        while self.cleanups.try_join_next().is_some() {}
        let Cleanup { lost, cleared } = self.session.take_cleanup();
        if lost.is_empty() && cleared.is_empty() {
            return;
        }
        let intake = self.intake.clone();
        self.cleanups.spawn(async move {
            // The next holder finds what is not written now.
            let _ = intake.clean_up(lost, cleared).await;
        });
    }
}

/// Whether another message may be read, while so many events are handled whose payloads have so many bytes.
fn has_capacity(events: usize, bytes: usize, max_in_flight: u16) -> bool {
    events <= usize::from(max_in_flight) && bytes < MAX_PAYLOAD_BYTES
}

fn event(message: Message) -> Event {
    Event {
        payload: message.payload,
        about: vec![
            ("topic", message.topic.into()),
            ("qos", message.qos.into()),
            ("retained", message.retained.into()),
        ],
        properties: message.properties,
    }
}

/// The hash of everything that identifies a message.
fn fingerprint(message: &Message) -> Hash {
    let properties = message.properties.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
    let parts = [message.topic.as_bytes()].into_iter().chain(properties).chain([&message.payload[..]]);
    let mut hasher = Hasher::default();
    for part in parts {
        hasher.update(&part.len().to_le_bytes());
        hasher.update(part);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_events_and_few_bytes_are_handled_at_once() {
        for (events, bytes, expected) in [
            (0, 0, true),
            (64, MAX_PAYLOAD_BYTES - 1, true),
            (65, 0, false),
            (4, MAX_PAYLOAD_BYTES, false),
            (5, MAX_PAYLOAD_BYTES + (16 << 20), false),
        ] {
            assert_eq!(has_capacity(events, bytes, 64), expected, "{events} events, {bytes} bytes");
        }
    }
}
