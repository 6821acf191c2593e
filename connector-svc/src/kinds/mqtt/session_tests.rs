//! Sequences of packets, and what becomes of them.

use mesh::hash::Hash;
use uuid::Uuid;

use super::session::{Action, Cleanup, Packet, Session};
use crate::arrival::Arrival;
use crate::journal::Entry;

fn packet(id: u16, content: &str) -> Packet {
    Packet { id, duplicate: false, fingerprint: Hash::of(content.as_bytes()) }
}

fn again(id: u16, content: &str) -> Packet {
    Packet { duplicate: true, ..packet(id, content) }
}

fn entry(key: u16, content: &str, ended: bool) -> Entry {
    Entry {
        id: Uuid::now_v7(),
        key: key.to_string(),
        fingerprint: Some(Hash::of(content.as_bytes())),
        invocation_id: Uuid::now_v7(),
        received_at_ms: 1,
        args: None,
        ended,
        trace: None,
    }
}

/// The number of an event that is new.
#[track_caller]
fn new(step: Action) -> u64 {
    match step {
        Action::Handle(Arrival::First { .. }, event) => event,
        other => panic!("not new: {other:?}"),
    }
}

/// The invocation that is resumed, and the number of its event.
#[track_caller]
fn resumed(step: Action) -> (Uuid, u64) {
    match step {
        Action::Handle(Arrival::Again(entry), event) => (entry.invocation_id, event),
        other => panic!("not resumed: {other:?}"),
    }
}

fn connected() -> Session {
    let mut session = Session::default();
    session.connected(true);
    session
}

/// A ping that is answered while there is capacity.
fn ping(session: &mut Session) -> Cleanup {
    session.pinged();
    session.ponged(false);
    session.take_cleanup()
}

fn cleared(ids: &[Uuid]) -> Cleanup {
    Cleanup { cleared: ids.to_vec(), ..Cleanup::default() }
}

fn lost(ids: &[Uuid]) -> Cleanup {
    Cleanup { lost: ids.to_vec(), ..Cleanup::default() }
}

#[test]
fn an_event_is_acknowledged_and_cleared_once_the_broker_knows() {
    let (mut session, id) = (connected(), Uuid::now_v7());
    let event = new(session.arrived(packet(1, "a")));
    assert!(session.ended(1, event, id), "it is acknowledged");
    assert_eq!(ping(&mut session), Cleanup::default(), "the acknowledgement was not sent");
    session.acknowledged(1);
    assert_eq!(ping(&mut session), cleared(&[id]));
    assert_eq!(ping(&mut session), Cleanup::default());
}

#[test]
fn an_acknowledgement_after_the_ping_is_not_known_with_its_answer() {
    let (mut session, id) = (connected(), Uuid::now_v7());
    let event = new(session.arrived(packet(1, "a")));
    session.pinged();
    assert!(session.ended(1, event, id));
    session.acknowledged(1);
    session.ponged(false);
    assert_eq!(session.take_cleanup(), Cleanup::default());
    assert_eq!(ping(&mut session), cleared(&[id]));
}

#[test]
fn an_event_in_flight_is_not_handled_twice_and_is_acknowledged_where_it_arrived_last() {
    for repeat in [again(1, "a"), packet(1, "a")] {
        let mut session = connected();
        let event = new(session.arrived(packet(1, "a")));
        session.disconnected();
        session.connected(true);
        assert!(matches!(session.arrived(repeat), Action::Wait));
        assert!(session.ended(1, event, Uuid::now_v7()));
    }
}

#[test]
fn an_event_that_ends_while_the_broker_is_away_is_acknowledged_when_it_is_redelivered() {
    let (mut session, id) = (connected(), Uuid::now_v7());
    let event = new(session.arrived(packet(1, "a")));
    session.disconnected();
    assert!(!session.ended(1, event, id), "there is no connection");
    session.connected(true);
    assert!(matches!(session.arrived(again(1, "a")), Action::Acknowledge));
    session.acknowledged(1);
    assert_eq!(ping(&mut session), cleared(&[id]));
}

#[test]
fn a_lost_acknowledgement_is_sent_again() {
    let (mut session, id) = (connected(), Uuid::now_v7());
    let event = new(session.arrived(packet(1, "a")));
    assert!(session.ended(1, event, id));
    session.acknowledged(1);
    session.disconnected();
    session.connected(true);
    assert!(matches!(session.arrived(again(1, "a")), Action::Acknowledge));
}

#[test]
fn an_acknowledgement_that_was_not_lost_is_known_after_a_ping() {
    let (mut session, id) = (connected(), Uuid::now_v7());
    let event = new(session.arrived(packet(1, "a")));
    assert!(session.ended(1, event, id));
    session.acknowledged(1);
    session.disconnected();
    session.connected(true);
    session.pinged();
    session.ponged(true);
    assert_eq!(session.take_cleanup(), Cleanup::default(), "it may still wait for capacity");
    assert_eq!(ping(&mut session), cleared(&[id]));
    new(session.arrived(again(1, "a")));
}

#[test]
fn a_packet_id_is_used_again() {
    let (mut session, id) = (connected(), Uuid::now_v7());
    let event = new(session.arrived(packet(1, "a")));
    assert!(session.ended(1, event, id));
    session.acknowledged(1);
    // The content is the same, the event is not.
    let (next, next_id) = (new(session.arrived(packet(1, "a"))), Uuid::now_v7());
    assert_ne!(next, event);
    assert_eq!(session.take_cleanup(), cleared(&[id]));
    assert!(session.ended(1, next, next_id));
    session.acknowledged(1);
    // The broker has received that, and sends another one, first on a connection that breaks.
    session.disconnected();
    session.connected(true);
    let last = new(session.arrived(again(1, "b")));
    assert_eq!(session.take_cleanup(), cleared(&[next_id]));
    assert!(session.ended(1, last, Uuid::now_v7()));
}

#[test]
fn an_event_whose_packet_id_was_reused_is_not_acknowledged() {
    let (mut session, id) = (connected(), Uuid::now_v7());
    let event = new(session.arrived(packet(1, "a")));
    session.disconnected();
    session.connected(true);
    let next = new(session.arrived(packet(1, "b")));
    assert!(!session.ended(1, event, id), "the id belongs to the other one");
    assert_eq!(session.take_cleanup(), cleared(&[id]));
    assert!(session.ended(1, next, Uuid::now_v7()));
}

#[test]
fn the_events_of_a_former_holder_are_resumed() {
    let (running, ended) = (entry(1, "a", false), entry(2, "b", true));
    let mut session = Session::new(vec![running.clone(), ended.clone()]);
    session.connected(true);
    let (invocation, event) = resumed(session.arrived(again(1, "a")));
    assert_eq!(invocation, running.invocation_id);
    assert!(matches!(session.arrived(again(2, "b")), Action::Acknowledge));
    assert!(session.ended(1, event, running.id));
    session.acknowledged(1);
    session.acknowledged(2);
    let mut cleanup = ping(&mut session);
    cleanup.cleared.sort();
    assert_eq!(cleanup, cleared(&[running.id, ended.id]));
}

#[test]
fn what_is_not_redelivered_is_lost() {
    let (running, ended) = (entry(1, "a", false), entry(2, "b", true));
    let mut session = Session::new(vec![running.clone(), ended.clone()]);
    session.connected(true);
    session.pinged();
    session.ponged(true);
    assert_eq!(session.take_cleanup(), Cleanup::default(), "the broker waits for capacity");
    let cleanup = ping(&mut session);
    assert_eq!(cleanup, Cleanup { lost: vec![running.id], cleared: vec![ended.id] });
}

#[test]
fn another_message_with_the_packet_id_of_a_former_holder_is_new() {
    let running = entry(1, "a", false);
    let mut session = Session::new(vec![running.clone()]);
    session.connected(true);
    new(session.arrived(again(1, "b")));
    assert_eq!(session.take_cleanup(), lost(&[running.id]));
}

#[test]
fn without_the_session_all_packets_are_lost() {
    let (running, ended, id) = (entry(1, "a", false), entry(2, "b", true), Uuid::now_v7());
    let mut session = Session::new(vec![running.clone(), ended.clone()]);
    session.connected(true);
    let event = new(session.arrived(packet(3, "c")));
    session.disconnected();
    session.connected(false);
    let cleanup = session.take_cleanup();
    assert_eq!(cleanup, Cleanup { lost: vec![running.id], cleared: vec![ended.id] });
    new(session.arrived(packet(3, "c")));
    assert!(!session.ended(3, event, id), "its packet is gone");
    assert_eq!(session.take_cleanup(), cleared(&[id]));
}
