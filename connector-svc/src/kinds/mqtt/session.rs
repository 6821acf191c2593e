//! Matches the packets of a session with events: what to do with a packet that arrives, perhaps again, and with
//! an event that ends.
//!
//! A broker gives each message that needs an acknowledgement a packet id, which it may reuse once it has the
//! acknowledgement. What is not acknowledged on one connection it redelivers on the next, marked as a duplicate,
//! with the same id, as long as it keeps the session. So a packet is the same event as an unacknowledged one
//! with this id, or as one that has ended whose acknowledgement the broker may not have received. It has
//! received every acknowledgement that was sent before a ping that it answered.

use std::collections::HashMap;

use mesh::hash::Hash;
use uuid::Uuid;

use crate::arrival::Arrival;
use crate::journal::Entry;

/// A packet that needs an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) id: u16,
    /// The broker marks it as a redelivery.
    pub(super) duplicate: bool,
    /// The hash of its content.
    pub(super) fingerprint: Hash,
}

/// What to do with a packet.
#[derive(Debug)]
pub(super) enum Action {
    /// Handle it as an event with this number.
    Handle(Arrival, u64),
    /// Its event is being handled. The packet is acknowledged when that ends.
    Wait,
    /// Its event has ended: acknowledge it.
    Acknowledge,
}

/// Entries that the journal no longer needs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Cleanup {
    /// Events in flight that the broker does not have any more.
    pub(super) lost: Vec<Uuid>,
    /// Events that have ended, which the broker knows.
    pub(super) cleared: Vec<Uuid>,
}

/// The packets of a session.
#[derive(Debug, Default)]
pub(super) struct Session {
    running: HashMap<u16, Running>,
    ended: HashMap<u16, Ended>,
    /// Events in flight of a former holder that the broker has not redelivered yet.
    inherited: HashMap<u16, Entry>,
    cleanup: Cleanup,
    events: u64,
    /// The events that had ended when the pending ping was sent.
    pinged: Vec<(u16, Uuid)>,
}

#[derive(Debug)]
struct Running {
    /// The number of its event.
    event: u64,
    fingerprint: Hash,
    /// It arrived on this connection, where it can be acknowledged.
    is_here: bool,
}

#[derive(Debug)]
struct Ended {
    /// The event's id in the journal.
    id: Uuid,
    fingerprint: Hash,
    acknowledged: Acknowledged,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Acknowledged {
    /// On an earlier connection, or not at all.
    Before,
    /// Queued for sending.
    Queued,
    /// On this connection.
    Sent,
}

impl Session {
    /// A session with these entries in the journal.
    pub(super) fn new(entries: Vec<Entry>) -> Self {
        let mut session = Self::default();
        for entry in entries {
            let (Ok(packet), Some(fingerprint)) = (entry.key.parse(), entry.fingerprint) else { continue };
            if entry.ended {
                let acknowledged = Acknowledged::Before;
                let former = session.ended.insert(packet, Ended { id: entry.id, fingerprint, acknowledged });
                session.cleanup.cleared.extend(former.map(|former| former.id));
            } else {
                let former = session.inherited.insert(packet, entry);
                session.cleanup.lost.extend(former.map(|former| former.id));
            }
        }
        session
    }

    /// A connection is established. Without the session the broker has forgotten all packets.
    pub(super) fn connected(&mut self, session_present: bool) {
        self.disconnected();
        if !session_present {
            self.cleanup.lost.extend(self.inherited.drain().map(|(_, entry)| entry.id));
            self.cleanup.cleared.extend(self.ended.drain().map(|(_, ended)| ended.id));
            self.running.clear();
        }
    }

    /// The connection is lost, and perhaps acknowledgements that had been sent.
    pub(super) fn disconnected(&mut self) {
        self.pinged.clear();
        self.running.values_mut().for_each(|running| running.is_here = false);
        self.ended.values_mut().for_each(|ended| ended.acknowledged = Acknowledged::Before);
    }

    /// A packet has arrived.
    pub(super) fn arrived(&mut self, packet: Packet) -> Action {
        if let Some(running) = self.running.get_mut(&packet.id) {
            // An id in use means the same message, even if a restarted broker does not mark it as a duplicate.
            if running.fingerprint == packet.fingerprint {
                running.is_here = true;
                return Action::Wait;
            }
            self.running.remove(&packet.id);
        }
        if let Some(entry) = self.inherited.remove(&packet.id) {
            if entry.fingerprint == Some(packet.fingerprint) {
                return self.handle(packet, Arrival::Again(entry));
            }
            self.cleanup.lost.push(entry.id);
        }
        if let Some(ended) = self.ended.get_mut(&packet.id) {
            if packet.duplicate && ended.fingerprint == packet.fingerprint {
                ended.acknowledged = Acknowledged::Queued;
                return Action::Acknowledge;
            }
            let id = ended.id;
            self.ended.remove(&packet.id);
            self.cleanup.cleared.push(id);
        }
        let first = Arrival::First {
            key: packet.id.to_string(),
            fingerprint: Some(packet.fingerprint),
            invocation_id: None,
        };
        self.handle(packet, first)
    }

    fn handle(&mut self, packet: Packet, arrival: Arrival) -> Action {
        self.events += 1;
        let running = Running { event: self.events, fingerprint: packet.fingerprint, is_here: true };
        self.running.insert(packet.id, running);
        Action::Handle(arrival, self.events)
    }

    /// The event of a packet has ended, which has this id in the journal. Returns whether the packet can be
    /// acknowledged now.
    pub(super) fn ended(&mut self, packet: u16, event: u64, id: Uuid) -> bool {
        let Some(running) = self.running.remove(&packet) else {
            self.cleanup.cleared.push(id);
            return false;
        };
        if running.event != event {
            self.running.insert(packet, running);
            self.cleanup.cleared.push(id);
            return false;
        }
        let acknowledged = if running.is_here { Acknowledged::Queued } else { Acknowledged::Before };
        self.ended.insert(packet, Ended { id, fingerprint: running.fingerprint, acknowledged });
        running.is_here
    }

    /// An acknowledgement has been sent.
    pub(super) fn acknowledged(&mut self, packet: u16) {
        if let Some(ended) = self.ended.get_mut(&packet) {
            ended.acknowledged = Acknowledged::Sent;
        }
    }

    /// A ping has been sent.
    pub(super) fn pinged(&mut self) {
        let settled = self.ended.iter().filter(|(_, ended)| ended.acknowledged != Acknowledged::Queued);
        self.pinged = settled.map(|(packet, ended)| (*packet, ended.id)).collect();
    }

    /// The broker has answered the ping: it has received the acknowledgements that were sent before. What it has
    /// not redelivered by now it does not have any more, unless it waits for capacity.
    pub(super) fn ponged(&mut self, is_full: bool) {
        for (packet, id) in std::mem::take(&mut self.pinged) {
            let is_over = self.ended.get(&packet).is_some_and(|ended| {
                ended.id == id && (ended.acknowledged == Acknowledged::Sent || !is_full)
            });
            if is_over {
                self.ended.remove(&packet);
                self.cleanup.cleared.push(id);
            }
        }
        if !is_full {
            self.cleanup.lost.extend(self.inherited.drain().map(|(_, entry)| entry.id));
        }
    }

    /// Returns the entries that the journal no longer needs, each once.
    pub(super) fn take_cleanup(&mut self) -> Cleanup {
        std::mem::take(&mut self.cleanup)
    }
}
