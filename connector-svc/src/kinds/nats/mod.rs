//! NATS JetStream, through a durable consumer.
//!
//! A message is identified by its position in the stream: whenever it is redelivered, it causes the same
//! invocation. It is acknowledged when its event has ended; until then the server is told that it is in progress.

mod connection;
mod params;

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::AckKind;
use async_nats::jetstream::message::Acker;
use mesh::bindings::{End, HeldBinding};
use mesh::egress::Outbound;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use self::connection::{ACK_WAIT, Connection, ConnectionEvent, Message, Progress, Server, delete_consumer};
pub(crate) use self::params::Params;
use super::connection_status::ConnectionStatus;
use super::shutdown::{DISCONNECT_TIMEOUT, DRAIN_TIMEOUT, unless_panicked};
use crate::arrival::{Abandoned, Arrival};
use crate::event::{Event, derived_id};
use crate::intake::Intake;
use crate::journal::Entry;

/// How long notifying the server of messages in progress may take.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(1);

/// Hands the messages to `intake` until the lease ends.
pub(crate) async fn run(
    params: Params,
    outbound: Outbound,
    intake: Intake,
    entries: Vec<Entry>,
    held: HeldBinding,
) {
    let server = Server { params, outbound };
    let params = &server.params;
    let own = format!("funless-{}", intake.binding_id());
    let consumer = params.durable.clone().unwrap_or_else(|| own.clone());
    let mut subscriber = Subscriber {
        connection: Connection::new(&server, &consumer, intake.handling().max_in_flight, &held),
        status: ConnectionStatus::new(&held.report, intake.metrics()),
        intake: &intake,
        stream_created: 0,
        running: HashMap::new(),
        ended: HashMap::new(),
        inherited: HashMap::new(),
        handling: JoinSet::new(),
        acknowledging: JoinSet::new(),
        cleanups: JoinSet::new(),
    };
    for entry in entries {
        match entry.ended {
            true => drop(subscriber.ended.insert(entry.key, entry.id)),
            false => drop(subscriber.inherited.insert(entry.key.clone(), entry)),
        }
    }
    let end = subscriber.run(&held).await;
    intake.stop();
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, subscriber.drain()).await;
    subscriber.handling.shutdown().await;
    drop(subscriber);
    if end == End::Removed {
        intake.mark_all_lost().await;
        if consumer == own {
            let deleted = Box::pin(delete_consumer(&server, &consumer));
            let deleted = tokio::time::timeout(DISCONNECT_TIMEOUT, deleted).await;
            if !matches!(deleted, Ok(Ok(()))) {
                tracing::warn!(
                    consumer,
                    ?deleted,
                    "the consumer could not be deleted; it stays on the server"
                );
            }
        }
    }
}

/// An event that has been handled, or abandoned.
struct HandledEvent {
    key: String,
    outcome: Result<Option<Uuid>, Abandoned>,
}

/// A message whose acknowledgement was sent.
struct Acknowledged {
    key: String,
    /// The server has confirmed it.
    is_confirmed: bool,
}

/// Receives messages and acknowledges them. The maps are by key.
struct Subscriber<'a> {
    intake: &'a Intake,
    connection: Connection<'a>,
    status: ConnectionStatus<'a>,
    /// See [`Progress`].
    stream_created: i128,
    /// Events in flight, with the means to acknowledge those that arrived on this connection.
    running: HashMap<String, Option<Acker>>,
    /// Events that have ended whose acknowledgement is not confirmed, with their ids in the journal.
    ended: HashMap<String, Uuid>,
    /// Events in flight of a former holder that have not been redelivered yet.
    inherited: HashMap<String, Entry>,
    handling: JoinSet<HandledEvent>,
    acknowledging: JoinSet<Acknowledged>,
    cleanups: JoinSet<()>,
}

impl Subscriber<'_> {
    async fn run(&mut self, held: &HeldBinding) -> End {
        // Several times within the server's timeout.
        let mut progress = tokio::time::interval(ACK_WAIT / 3);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // A server that keeps to the consumer's limit does not reach it, unless the stream was made anew.
        let most = 2 * usize::from(self.intake.handling().max_in_flight);
        loop {
            let has_capacity = self.handling.len() + self.acknowledging.len() < most;
            tokio::select! {
                end = held.ended() => return end,
                Some(handled) = self.handling.join_next() => match self.handled(unless_panicked(handled)) {
                    Ok(()) => {}
                    // The binding restarts, with everything that the journal knows.
                    Err(Abandoned) => return End::HandOver,
                },
                Some(acknowledged) = self.acknowledging.join_next() => {
                    self.acknowledged(unless_panicked(acknowledged));
                }
                event = self.connection.next(), if has_capacity => match event {
                    Ok(ConnectionEvent::Connected(progress)) => self.connected(&progress),
                    Ok(ConnectionEvent::Message(message)) => self.receive(message.0, message.1),
                    Err(lost) => self.disconnected(lost.0),
                },
                _ = progress.tick(), if self.status.is_connected() => self.notify_progress().await,
            }
        }
    }

    /// Waits for the events in flight, and accepts no new ones.
    async fn drain(&mut self) {
        while !self.handling.is_empty() || !self.acknowledging.is_empty() {
            tokio::select! {
                Some(handled) = self.handling.join_next() => {
                    // An abandoned event is redelivered.
                    let _ = self.handled(unless_panicked(handled));
                }
                Some(acknowledged) = self.acknowledging.join_next() => {
                    self.acknowledged(unless_panicked(acknowledged));
                }
            }
        }
    }

    /// Messages that arrived on the connection are acknowledged when they are redelivered.
    fn disconnected(&mut self, problem: String) {
        self.status.disconnected(problem);
        // An acker keeps its client alive.
        self.running.values_mut().for_each(|acker| *acker = None);
    }

    /// Removes entries whose messages are no longer in the stream, or are acknowledged.
    fn connected(&mut self, progress: &Progress) {
        self.stream_created = progress.stream_created;
        let is_gone = |key: &str| is_gone(key, progress);
        let cleared = self.ended.extract_if(|key, _| is_gone(key)).map(|(_, id)| id).collect();
        let lost = self.inherited.extract_if(|key, _| is_gone(key)).map(|(_, entry)| entry.id).collect();
        self.clean_up(lost, cleared);
        self.status.connected();
    }

    /// Removes entries from the journal that are no longer needed.
    fn clean_up(&mut self, lost: Vec<Uuid>, cleared: Vec<Uuid>) {
        while self.cleanups.try_join_next().is_some() {}
        let intake = self.intake.clone();
        self.cleanups.spawn(async move {
            // The next holder finds what is not written now.
            let _ = intake.clean_up(lost, cleared).await;
        });
    }

    fn receive(&mut self, mut message: Message, acker: Acker) {
        self.status.active();
        let key = key(self.stream_created, message.sequence);
        if let Some(former) = self.running.get_mut(&key) {
            // The server was notified too late that it is in progress.
            *former = Some(acker);
            return;
        }
        if self.ended.contains_key(&key) {
            return self.acknowledge(key, acker);
        }
        let arrival = match self.inherited.remove(&key) {
            Some(entry) => Arrival::Again(entry),
            None => {
                let invocation_id = Some(derived_id(self.intake.binding_id(), &key));
                Arrival::First { key: key.clone(), fingerprint: None, invocation_id }
            }
        };
        self.running.insert(key.clone(), Some(acker));
        let intake = self.intake.clone();
        let (held, event) = (message.held.take(), event(message));
        self.handling.spawn(async move {
            let outcome = intake.handle(event, arrival).await;
            drop(held);
            HandledEvent { key, outcome }
        });
    }

    fn handled(&mut self, handled: HandledEvent) -> Result<(), Abandoned> {
        let acker = self.running.remove(&handled.key).flatten();
        if let Some(id) = handled.outcome? {
            self.ended.insert(handled.key.clone(), id);
            if let Some(acker) = acker {
                self.acknowledge(handled.key, acker);
            }
        }
        Ok(())
    }

    /// Acknowledges a message, and waits until the server has confirmed that.
    fn acknowledge(&mut self, key: String, acker: Acker) {
        let Some(id) = self.ended.get(&key).copied() else { return };
        let intake = self.intake.clone();
        self.acknowledging.spawn(async move {
            let is_confirmed = acker.double_ack().await.is_ok();
            if is_confirmed {
                let _ = intake.clean_up(Vec::new(), vec![id]).await;
            }
            Acknowledged { key, is_confirmed }
        });
    }

    fn acknowledged(&mut self, acknowledged: Acknowledged) {
        if acknowledged.is_confirmed {
            self.ended.remove(&acknowledged.key);
        }
    }

    /// Notifies the server of messages in progress, which it would redeliver otherwise.
    async fn notify_progress(&mut self) {
        let notifying = async {
            for acker in self.running.values().flatten() {
                acker.ack_with(AckKind::Progress).await?;
            }
            Ok::<_, async_nats::Error>(())
        };
        // A client without a connection fills its buffer, and then waits.
        match tokio::time::timeout(PROGRESS_TIMEOUT, notifying).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the server was not notified of messages in progress"),
            Err(_) => tracing::debug!("the server was not notified in time of messages in progress"),
        }
    }
}

fn key(stream_created: i128, sequence: u64) -> String {
    format!("{stream_created}:{sequence}")
}

/// Whether no message with this key will be delivered any more.
fn is_gone(key: &str, progress: &Progress) -> bool {
    let Some((stream_created, sequence)) = key.split_once(':') else { return true };
    let is_of_the_stream = stream_created.parse() == Ok(progress.stream_created);
    let is_to_come = sequence
        .parse()
        .is_ok_and(|sequence: u64| sequence >= progress.first && sequence > progress.acknowledged);
    !(is_of_the_stream && is_to_come)
}

fn event(message: Message) -> Event {
    Event {
        payload: message.payload,
        about: vec![
            ("subject", message.subject.into()),
            ("stream", message.stream.into()),
            ("sequence", message.sequence.into()),
        ],
        properties: message.headers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_are_not_delivered_any_more() {
        let progress = Progress { stream_created: 7, first: 10, acknowledged: 12 };
        for (key, expected) in [
            (key(7, 13), false),
            (key(7, 12), true),
            (key(7, 9), true),
            (key(8, 13), true),
            ("13".to_owned(), true),
            ("7:x".to_owned(), true),
        ] {
            assert_eq!(is_gone(&key, &progress), expected, "{key}");
        }
    }
}
