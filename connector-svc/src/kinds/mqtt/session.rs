//! Which packets of a session are which events: what to do with a packet that comes, perhaps again, and
//! with an event that ends.
//!
//! A broker names each message that is to be acknowledged by a packet id, which is free again once it has
//! the acknowledgement. What was not acknowledged on one connection it sends again on the next, marked as
//! a duplicate, with the same id, as long as it keeps the session. So a packet is the same event as one
//! with this id that is not acknowledged; and as one that has ended, when the broker may not have heard of
//! that. It has heard of what was acknowledged before a ping that it answered.

use std::collections::HashMap;

use mesh::hash::Hash;
use uuid::Uuid;

use crate::arrival::Arrival;
use crate::journal::Entry;

/// A packet that is to be acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) id: u16,
    /// The broker has sent it before.
    pub(super) duplicate: bool,
    /// Of all that it holds.
    pub(super) fingerprint: Hash,
}

/// What to do with a packet.
#[derive(Debug)]
pub(super) enum Step {
    /// It is an event to be handled, which is given the number.
    Handle(Arrival, u64),
    /// Its event is being handled. It is acknowledged when that ends.
    Wait,
    /// Its event has ended.
    Acknowledge,
}

/// What the journal need not keep any more.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Leavings {
    /// Has not ended, and the broker does not have it any more.
    pub(super) lost: Vec<Uuid>,
    /// Has ended, and the broker knows.
    pub(super) cleared: Vec<Uuid>,
}

/// The packets of a session.
#[derive(Debug, Default)]
pub(super) struct Session {
    running: HashMap<u16, Running>,
    ended: HashMap<u16, Ended>,
    /// What a former tenure has not ended, and the broker has not yet sent again.
    inherited: HashMap<u16, Entry>,
    leavings: Leavings,
    events: u64,
    /// What had ended when the ping was sent that is not yet answered.
    pinged: Vec<(u16, Uuid)>,
}

#[derive(Debug)]
struct Running {
    /// The number of its event.
    event: u64,
    fingerprint: Hash,
    /// It came on this connection, where it can be acknowledged.
    is_here: bool,
}

#[derive(Debug)]
struct Ended {
    /// In the journal.
    id: Uuid,
    fingerprint: Hash,
    acknowledged: Acknowledged,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Acknowledged {
    /// On an earlier connection, or not at all.
    Before,
    /// On its way out.
    Queued,
    /// On this connection.
    Sent,
}

impl Session {
    /// A session of which the journal knows this.
    pub(super) fn new(entries: Vec<Entry>) -> Self {
        let mut session = Self::default();
        for entry in entries {
            let (Ok(packet), Some(fingerprint)) = (entry.key.parse(), entry.fingerprint) else { continue };
            if entry.ended {
                let acknowledged = Acknowledged::Before;
                let former = session.ended.insert(packet, Ended { id: entry.id, fingerprint, acknowledged });
                session.leavings.cleared.extend(former.map(|former| former.id));
            } else {
                let former = session.inherited.insert(packet, entry);
                session.leavings.lost.extend(former.map(|former| former.id));
            }
        }
        session
    }

    /// A connection is there. Without the session the broker has forgotten all packets.
    pub(super) fn connected(&mut self, session_present: bool) {
        self.disconnected();
        if !session_present {
            self.leavings.lost.extend(self.inherited.drain().map(|(_, entry)| entry.id));
            self.leavings.cleared.extend(self.ended.drain().map(|(_, ended)| ended.id));
            self.running.clear();
        }
    }

    /// The connection is lost, and perhaps the acknowledgements that were on their way.
    pub(super) fn disconnected(&mut self) {
        self.pinged.clear();
        self.running.values_mut().for_each(|running| running.is_here = false);
        self.ended.values_mut().for_each(|ended| ended.acknowledged = Acknowledged::Before);
    }

    /// A packet comes.
    pub(super) fn arrived(&mut self, packet: Packet) -> Step {
        if let Some(running) = self.running.get_mut(&packet.id) {
            // An id in use names the same message, also when a restarted broker does not say "again".
            if running.fingerprint == packet.fingerprint {
                running.is_here = true;
                return Step::Wait;
            }
            self.running.remove(&packet.id);
        }
        if let Some(entry) = self.inherited.remove(&packet.id) {
            if entry.fingerprint == Some(packet.fingerprint) {
                return self.handle(packet, Arrival::Again(entry));
            }
            self.leavings.lost.push(entry.id);
        }
        if let Some(ended) = self.ended.get_mut(&packet.id) {
            if packet.duplicate && ended.fingerprint == packet.fingerprint {
                ended.acknowledged = Acknowledged::Queued;
                return Step::Acknowledge;
            }
            let id = ended.id;
            self.ended.remove(&packet.id);
            self.leavings.cleared.push(id);
        }
        let first = Arrival::First {
            key: packet.id.to_string(),
            fingerprint: Some(packet.fingerprint),
            invocation_id: None,
        };
        self.handle(packet, first)
    }

    fn handle(&mut self, packet: Packet, arrival: Arrival) -> Step {
        self.events += 1;
        let running = Running { event: self.events, fingerprint: packet.fingerprint, is_here: true };
        self.running.insert(packet.id, running);
        Step::Handle(arrival, self.events)
    }

    /// The event of a packet has ended, which is in the journal under `id`. Whether the packet can be
    /// acknowledged now.
    pub(super) fn ended(&mut self, packet: u16, event: u64, id: Uuid) -> bool {
        let Some(running) = self.running.remove(&packet) else {
            self.leavings.cleared.push(id);
            return false;
        };
        if running.event != event {
            self.running.insert(packet, running);
            self.leavings.cleared.push(id);
            return false;
        }
        let acknowledged = if running.is_here { Acknowledged::Queued } else { Acknowledged::Before };
        self.ended.insert(packet, Ended { id, fingerprint: running.fingerprint, acknowledged });
        running.is_here
    }

    /// An acknowledgement is on the wire.
    pub(super) fn acknowledged(&mut self, packet: u16) {
        if let Some(ended) = self.ended.get_mut(&packet) {
            ended.acknowledged = Acknowledged::Sent;
        }
    }

    /// A ping is on the wire.
    pub(super) fn pinged(&mut self) {
        let settled = self.ended.iter().filter(|(_, ended)| ended.acknowledged != Acknowledged::Queued);
        self.pinged = settled.map(|(packet, ended)| (*packet, ended.id)).collect();
    }

    /// The broker has answered the ping: it has all that was acknowledged before. What it has not sent
    /// again by now it does not have any more, unless it waits for room.
    pub(super) fn ponged(&mut self, is_full: bool) {
        for (packet, id) in std::mem::take(&mut self.pinged) {
            let is_over = self.ended.get(&packet).is_some_and(|ended| {
                ended.id == id && (ended.acknowledged == Acknowledged::Sent || !is_full)
            });
            if is_over {
                self.ended.remove(&packet);
                self.leavings.cleared.push(id);
            }
        }
        if !is_full {
            self.leavings.lost.extend(self.inherited.drain().map(|(_, entry)| entry.id));
        }
    }

    /// What the journal need not keep any more, told once.
    pub(super) fn take_leavings(&mut self) -> Leavings {
        std::mem::take(&mut self.leavings)
    }
}
