//! Messages of a NATS JetStream stream, through a durable consumer.
//!
//! A message is its place in its stream: whenever it comes, it causes the same invocation. It is
//! acknowledged when its event has ended; while that lasts, the server is told so, and does not send it
//! again.

mod connection;
mod params;

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::AckKind;
use async_nats::jetstream::message::Acker;
use mesh::bindings::{End, Tenure};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use self::connection::{ACK_WAIT, Connection, Message, Notice, Progress, delete_consumer};
pub(crate) use self::params::Params;
use super::link::Link;
use super::{FAREWELL, LAST_ORDERS, unless_panicked};
use crate::arrival::{Abandoned, Arrival};
use crate::event::{Event, derived_id};
use crate::intake::Intake;
use crate::journal::Entry;

/// How long telling the server what is worked on may take.
const TELLING: Duration = Duration::from_secs(1);

/// Hands the messages to `intake` until the tenure ends.
pub(crate) async fn run(params: Params, intake: Intake, before: Vec<Entry>, tenure: Tenure) {
    let own = format!("funless-{}", intake.binding_id());
    let consumer = params.durable.clone().unwrap_or_else(|| own.clone());
    let mut desk = Desk {
        connection: Connection::new(&params, &consumer, intake.handling().max_in_flight, &tenure),
        link: Link::new(&tenure.report, intake.metrics()),
        intake: &intake,
        stream_made: 0,
        running: HashMap::new(),
        ended: HashMap::new(),
        inherited: HashMap::new(),
        handling: JoinSet::new(),
        acknowledging: JoinSet::new(),
        tidying: JoinSet::new(),
    };
    for entry in before {
        match entry.ended {
            true => drop(desk.ended.insert(entry.key, entry.id)),
            false => drop(desk.inherited.insert(entry.key.clone(), entry)),
        }
    }
    let end = desk.serve(&tenure).await;
    intake.stop();
    let _ = tokio::time::timeout(LAST_ORDERS, desk.finish()).await;
    desk.handling.shutdown().await;
    drop(desk);
    if end == End::Removed {
        intake.mark_all_lost().await;
        if consumer == own {
            let deleted = tokio::time::timeout(FAREWELL, delete_consumer(&params, &consumer)).await;
            if !matches!(deleted, Ok(Ok(()))) {
                tracing::warn!(consumer, ?deleted, "the consumer is not deleted; the server keeps it");
            }
        }
    }
}

/// An event that is not handled any more.
struct Handled {
    key: String,
    outcome: Result<Option<Uuid>, Abandoned>,
}

/// A message of which the server knows, or may not know, that it is acknowledged.
struct Acknowledged {
    key: String,
    is_known: bool,
}

/// Where messages come in and acknowledgements go out.
struct Desk<'a> {
    intake: &'a Intake,
    connection: Connection<'a>,
    link: Link<'a>,
    /// When the stream was made; see [`Progress`].
    stream_made: i128,
    /// What is handled, and how it is acknowledged, when it came on this connection. By key, as the others.
    running: HashMap<String, Option<Acker>>,
    /// What has ended and is not known to be acknowledged, with the events' ids in the journal.
    ended: HashMap<String, Uuid>,
    /// What a former tenure has not ended, and has not come again yet.
    inherited: HashMap<String, Entry>,
    handling: JoinSet<Handled>,
    acknowledging: JoinSet<Acknowledged>,
    tidying: JoinSet<()>,
}

impl Desk<'_> {
    async fn serve(&mut self, tenure: &Tenure) -> End {
        // Several times within the server's patience.
        let mut progress = tokio::time::interval(ACK_WAIT / 3);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                end = tenure.ended() => return end,
                Some(handled) = self.handling.join_next() => match self.handled(unless_panicked(handled)) {
                    Ok(()) => {}
                    // It is started again, with all that the journal knows.
                    Err(Abandoned) => return End::HandOver,
                },
                Some(acknowledged) = self.acknowledging.join_next() => {
                    self.acknowledged(unless_panicked(acknowledged));
                }
                notice = self.connection.next() => match notice {
                    Ok(Notice::Connected(progress)) => self.connected(&progress),
                    Ok(Notice::Message(message)) => self.receive(message.0, message.1),
                    Err(lost) => self.disconnected(lost.0),
                },
                _ = progress.tick(), if self.link.is_up() => self.tell_progress().await,
            }
        }
    }

    /// Waits for what is handled, and takes nothing new.
    async fn finish(&mut self) {
        while !self.handling.is_empty() || !self.acknowledging.is_empty() {
            tokio::select! {
                Some(handled) = self.handling.join_next() => {
                    // What is abandoned comes again.
                    let _ = self.handled(unless_panicked(handled));
                }
                Some(acknowledged) = self.acknowledging.join_next() => {
                    self.acknowledged(unless_panicked(acknowledged));
                }
            }
        }
    }

    /// What came on the connection is acknowledged when it comes again.
    fn disconnected(&mut self, problem: String) {
        self.link.down(problem);
        // An acker keeps the client alive that it belongs to.
        self.running.values_mut().for_each(|acker| *acker = None);
    }

    /// What the stream does not have any more, or the server knows to have ended, need not be remembered.
    fn connected(&mut self, progress: &Progress) {
        self.stream_made = progress.stream_made;
        let is_gone = |key: &str| is_gone(key, progress);
        let cleared = self.ended.extract_if(|key, _| is_gone(key)).map(|(_, id)| id).collect();
        let lost = self.inherited.extract_if(|key, _| is_gone(key)).map(|(_, entry)| entry.id).collect();
        self.tidy(lost, cleared);
        self.link.up();
    }

    /// Takes out of the journal what it need not keep.
    fn tidy(&mut self, lost: Vec<Uuid>, cleared: Vec<Uuid>) {
        while self.tidying.try_join_next().is_some() {}
        let intake = self.intake.clone();
        self.tidying.spawn(async move {
            // What is not written now is found again by the next tenure.
            let _ = intake.tidy(lost, cleared).await;
        });
    }

    fn receive(&mut self, message: Message, acker: Acker) {
        self.link.active();
        let key = key(self.stream_made, message.sequence);
        if let Some(former) = self.running.get_mut(&key) {
            // The server was told too late that it is handled.
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
        self.handling.spawn(async move {
            let outcome = intake.handle(event(message), arrival).await;
            Handled { key, outcome }
        });
    }

    fn handled(&mut self, handled: Handled) -> Result<(), Abandoned> {
        let acker = self.running.remove(&handled.key).flatten();
        if let Some(id) = handled.outcome? {
            self.ended.insert(handled.key.clone(), id);
            if let Some(acker) = acker {
                self.acknowledge(handled.key, acker);
            }
        }
        Ok(())
    }

    /// Acknowledges, and waits until the server has confirmed that.
    fn acknowledge(&mut self, key: String, acker: Acker) {
        let Some(id) = self.ended.get(&key).copied() else { return };
        let intake = self.intake.clone();
        self.acknowledging.spawn(async move {
            let is_known = acker.double_ack().await.is_ok();
            if is_known {
                let _ = intake.tidy(Vec::new(), vec![id]).await;
            }
            Acknowledged { key, is_known }
        });
    }

    fn acknowledged(&mut self, acknowledged: Acknowledged) {
        if acknowledged.is_known {
            self.ended.remove(&acknowledged.key);
        }
    }

    /// Tells the server what is worked on. What it does not hear of it sends again.
    async fn tell_progress(&mut self) {
        let telling = async {
            for acker in self.running.values().flatten() {
                acker.ack_with(AckKind::Progress).await?;
            }
            Ok::<_, async_nats::Error>(())
        };
        // A client that has no connection takes words until it is full, and then waits.
        match tokio::time::timeout(TELLING, telling).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the server was not told what is worked on"),
            Err(_) => tracing::debug!("the server was not told in time what is worked on"),
        }
    }
}

fn key(stream_made: i128, sequence: u64) -> String {
    format!("{stream_made}:{sequence}")
}

/// Whether no message of this key will come any more.
fn is_gone(key: &str, progress: &Progress) -> bool {
    let Some((stream_made, sequence)) = key.split_once(':') else { return true };
    let is_of_the_stream = stream_made.parse() == Ok(progress.stream_made);
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
    fn what_does_not_come_any_more() {
        let progress = Progress { stream_made: 7, first: 10, acknowledged: 12 };
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
