//! Messages of an MQTT broker.
//!
//! Each binding has a session of its own at the broker, which lasts while nobody is connected. A message is
//! acknowledged when its event has ended, so that the broker sends it again to whoever runs the binding
//! next; `session` recognises it then.
//!
//! At most `max_in_flight` events are handled at once. With MQTT 5 and QoS 1 the broker knows this bound.
//! Else it is kept by not reading on: then no pings are sent, either, and the broker closes the connection
//! when functions are slower than its patience. That costs a reconnect and no message of QoS 1.

mod connection;
mod params;
mod session;
#[cfg(test)]
mod session_tests;
mod wire;

use std::time::Duration;

use mesh::bindings::{End, Tenure};
use mesh::hash::{Hash, Hasher};
use tokio::task::JoinSet;
use uuid::Uuid;

use self::connection::{Connection, end_session};
pub(crate) use self::params::Params;
use self::session::{Leavings, Packet, Session, Step};
use self::wire::{Message, Notice};
use super::link::Link;
use super::{FAREWELL, LAST_ORDERS, unless_panicked};
use crate::arrival::{Abandoned, Arrival};
use crate::event::Event;
use crate::intake::Intake;
use crate::journal::Entry;

/// How often the leavings of the session are looked after, at least.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// Hands the messages to `intake` until the tenure ends.
pub(crate) async fn run(params: Params, intake: Intake, before: Vec<Entry>, tenure: Tenure) {
    let client_id = format!("funless-{}", intake.binding_id());
    let window = intake.handling().max_in_flight;
    let connection = match Connection::new(&params, &client_id, window, &tenure) {
        Ok(connection) => connection,
        Err(problem) => {
            tenure.report.retrying(problem);
            tenure.ended().await;
            return;
        }
    };
    let mut desk = Desk {
        intake: &intake,
        connection,
        session: Session::new(before),
        link: Link::new(&tenure.report, intake.metrics()),
        handling: JoinSet::new(),
        tidying: JoinSet::new(),
    };
    let end = desk.serve(&tenure).await;
    intake.stop();
    let _ = tokio::time::timeout(LAST_ORDERS, desk.finish()).await;
    if desk.link.is_up() {
        let _ = tokio::time::timeout(FAREWELL, desk.connection.disconnect()).await;
    }
    desk.handling.shutdown().await;
    drop(desk);
    if end == End::Removed {
        intake.mark_all_lost().await;
        let ended = tokio::time::timeout(FAREWELL, end_session(&params, &client_id)).await;
        if !matches!(ended, Ok(Ok(()))) {
            tracing::info!(
                binding = intake.binding_id(),
                ?ended,
                "the broker keeps the session until it expires"
            );
        }
    }
}

/// An event that is not handled any more.
struct Handled {
    /// The packet that it came with, and its number there; `None` when it is not to be acknowledged.
    packet: Option<(u16, u64)>,
    outcome: Result<Option<Uuid>, Abandoned>,
}

/// Where messages come in and acknowledgements go out.
struct Desk<'a> {
    intake: &'a Intake,
    connection: Connection<'a>,
    session: Session,
    link: Link<'a>,
    handling: JoinSet<Handled>,
    tidying: JoinSet<()>,
}

impl Desk<'_> {
    async fn serve(&mut self, tenure: &Tenure) -> End {
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        loop {
            let has_room = self.handling.len() <= usize::from(self.intake.handling().max_in_flight);
            tokio::select! {
                end = tenure.ended() => return end,
                Some(handled) = self.handling.join_next() => match self.handled(unless_panicked(handled)) {
                    Ok(()) => {}
                    // It is started again, with all that the journal knows.
                    Err(Abandoned) => return End::HandOver,
                },
                notice = self.connection.next(), if has_room => match notice {
                    Ok(notice) => self.take(notice),
                    Err(lost) => {
                        self.session.disconnected();
                        self.link.down(lost.0);
                    }
                },
                _ = housekeeping.tick() => self.tidy(),
            }
        }
    }

    /// Waits for what is handled, and takes nothing new.
    async fn finish(&mut self) {
        while !self.handling.is_empty() {
            tokio::select! {
                Some(handled) = self.handling.join_next() => {
                    // What is abandoned comes again.
                    let _ = self.handled(unless_panicked(handled));
                }
                notice = self.connection.next() => match notice {
                    Ok(Notice::Connected { session_present }) => self.session.connected(session_present),
                    Ok(_) => {}
                    Err(_) => self.session.disconnected(),
                },
            }
        }
    }

    fn take(&mut self, notice: Notice) {
        match notice {
            Notice::Connected { session_present } => self.session.connected(session_present),
            Notice::Subscribed(_) => self.link.up(),
            Notice::Message(message) => self.receive(message),
            Notice::Acknowledged(packet) => self.session.acknowledged(packet),
            Notice::Pinged => self.session.pinged(),
            Notice::Ponged => {
                let is_full = self.handling.len() >= usize::from(self.intake.handling().max_in_flight);
                self.session.ponged(is_full);
            }
            Notice::Disconnected => {}
        }
    }

    fn receive(&mut self, message: Message) {
        self.link.active();
        if message.packet_id == 0 {
            return self.handle(message, Arrival::Once, None);
        }
        let (id, duplicate) = (message.packet_id, message.duplicate);
        let packet = Packet { id, duplicate, fingerprint: fingerprint(&message) };
        match self.session.arrived(packet) {
            Step::Handle(arrival, number) => self.handle(message, arrival, Some((id, number))),
            Step::Wait => {}
            Step::Acknowledge => self.connection.acknowledge(id),
        }
    }

    fn handle(&mut self, message: Message, arrival: Arrival, packet: Option<(u16, u64)>) {
        let intake = self.intake.clone();
        self.handling.spawn(async move {
            let outcome = intake.handle(event(message), arrival).await;
            Handled { packet, outcome }
        });
    }

    fn handled(&mut self, handled: Handled) -> Result<(), Abandoned> {
        if let (Some((packet, number)), Some(id)) = (handled.packet, handled.outcome?)
            && self.session.ended(packet, number, id)
        {
            self.connection.acknowledge(packet);
        }
        Ok(())
    }

    /// Takes out of the journal what it need not keep.
    fn tidy(&mut self) {
        while self.tidying.try_join_next().is_some() {}
        let Leavings { lost, cleared } = self.session.take_leavings();
        if lost.is_empty() && cleared.is_empty() {
            return;
        }
        let intake = self.intake.clone();
        self.tidying.spawn(async move {
            // What is not written now is found again by the next tenure.
            let _ = intake.tidy(lost, cleared).await;
        });
    }
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

/// Of all that makes a message what it is.
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
