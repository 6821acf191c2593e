//! What packets become, told as stories.

use mesh::hash::Hash;
use uuid::Uuid;

use super::session::{Leavings, Packet, Session, Step};
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
fn new(step: Step) -> u64 {
    match step {
        Step::Handle(Arrival::First { .. }, event) => event,
        other => panic!("not new: {other:?}"),
    }
}

/// The invocation that goes on, and the number of its event.
#[track_caller]
fn resumed(step: Step) -> (Uuid, u64) {
    match step {
        Step::Handle(Arrival::Again(entry), event) => (entry.invocation_id, event),
        other => panic!("not resumed: {other:?}"),
    }
}

fn connected() -> Session {
    let mut session = Session::default();
    session.connected(true);
    session
}

/// A ping that is answered while there is room.
fn ping(session: &mut Session) -> Leavings {
    session.pinged();
    session.ponged(false);
    session.take_leavings()
}

fn cleared(ids: &[Uuid]) -> Leavings {
    Leavings { cleared: ids.to_vec(), ..Leavings::default() }
}

fn lost(ids: &[Uuid]) -> Leavings {
    Leavings { lost: ids.to_vec(), ..Leavings::default() }
}

#[test]
fn an_event_is_acknowledged_and_cleared_once_the_broker_knows() {
    let (mut session, id) = (connected(), Uuid::now_v7());
    let event = new(session.arrived(packet(1, "a")));
    assert!(session.ended(1, event, id), "it is acknowledged");
    assert_eq!(ping(&mut session), Leavings::default(), "the acknowledgement was not on the wire");
    session.acknowledged(1);
    assert_eq!(ping(&mut session), cleared(&[id]));
    assert_eq!(ping(&mut session), Leavings::default());
}

#[test]
fn an_acknowledgement_after_the_ping_is_not_known_with_its_answer() {
    let (mut session, id) = (connected(), Uuid::now_v7());
    let event = new(session.arrived(packet(1, "a")));
    session.pinged();
    assert!(session.ended(1, event, id));
    session.acknowledged(1);
    session.ponged(false);
    assert_eq!(session.take_leavings(), Leavings::default());
    assert_eq!(ping(&mut session), cleared(&[id]));
}

#[test]
fn what_runs_is_not_started_twice_and_is_acknowledged_where_it_came_last() {
    for repeat in [again(1, "a"), packet(1, "a")] {
        let mut session = connected();
        let event = new(session.arrived(packet(1, "a")));
        session.disconnected();
        session.connected(true);
        assert!(matches!(session.arrived(repeat), Step::Wait));
        assert!(session.ended(1, event, Uuid::now_v7()));
    }
}

#[test]
fn what_ends_while_the_broker_is_away_is_acknowledged_when_it_comes_again() {
    let (mut session, id) = (connected(), Uuid::now_v7());
    let event = new(session.arrived(packet(1, "a")));
    session.disconnected();
    assert!(!session.ended(1, event, id), "there is no connection");
    session.connected(true);
    assert!(matches!(session.arrived(again(1, "a")), Step::Acknowledge));
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
    assert!(matches!(session.arrived(again(1, "a")), Step::Acknowledge));
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
    assert_eq!(session.take_leavings(), Leavings::default(), "it may still wait for room");
    assert_eq!(ping(&mut session), cleared(&[id]));
    new(session.arrived(again(1, "a")));
}

#[test]
fn a_packet_id_is_used_again() {
    let (mut session, id) = (connected(), Uuid::now_v7());
    let event = new(session.arrived(packet(1, "a")));
    assert!(session.ended(1, event, id));
    session.acknowledged(1);
    // Alike, and not the same.
    let (next, next_id) = (new(session.arrived(packet(1, "a"))), Uuid::now_v7());
    assert_ne!(next, event);
    assert_eq!(session.take_leavings(), cleared(&[id]));
    assert!(session.ended(1, next, next_id));
    session.acknowledged(1);
    // The broker has heard that, and sends another one, first on a connection that breaks.
    session.disconnected();
    session.connected(true);
    let last = new(session.arrived(again(1, "b")));
    assert_eq!(session.take_leavings(), cleared(&[next_id]));
    assert!(session.ended(1, last, Uuid::now_v7()));
}

#[test]
fn what_runs_under_an_id_that_names_something_else_is_not_acknowledged() {
    let (mut session, id) = (connected(), Uuid::now_v7());
    let event = new(session.arrived(packet(1, "a")));
    session.disconnected();
    session.connected(true);
    let next = new(session.arrived(packet(1, "b")));
    assert!(!session.ended(1, event, id), "the id is the other one's");
    assert_eq!(session.take_leavings(), cleared(&[id]));
    assert!(session.ended(1, next, Uuid::now_v7()));
}

#[test]
fn a_former_tenures_events_go_on() {
    let (running, ended) = (entry(1, "a", false), entry(2, "b", true));
    let mut session = Session::new(vec![running.clone(), ended.clone()]);
    session.connected(true);
    let (invocation, event) = resumed(session.arrived(again(1, "a")));
    assert_eq!(invocation, running.invocation_id);
    assert!(matches!(session.arrived(again(2, "b")), Step::Acknowledge));
    assert!(session.ended(1, event, running.id));
    session.acknowledged(1);
    session.acknowledged(2);
    let mut leavings = ping(&mut session);
    leavings.cleared.sort();
    assert_eq!(leavings, cleared(&[running.id, ended.id]));
}

#[test]
fn what_does_not_come_again_is_forgotten() {
    let (running, ended) = (entry(1, "a", false), entry(2, "b", true));
    let mut session = Session::new(vec![running.clone(), ended.clone()]);
    session.connected(true);
    session.pinged();
    session.ponged(true);
    assert_eq!(session.take_leavings(), Leavings::default(), "the broker waits for room");
    let leavings = ping(&mut session);
    assert_eq!(leavings, Leavings { lost: vec![running.id], cleared: vec![ended.id] });
}

#[test]
fn another_message_under_a_former_tenures_id_is_new() {
    let running = entry(1, "a", false);
    let mut session = Session::new(vec![running.clone()]);
    session.connected(true);
    new(session.arrived(again(1, "b")));
    assert_eq!(session.take_leavings(), lost(&[running.id]));
}

#[test]
fn without_the_session_nothing_is_known_any_more() {
    let (running, ended, id) = (entry(1, "a", false), entry(2, "b", true), Uuid::now_v7());
    let mut session = Session::new(vec![running.clone(), ended.clone()]);
    session.connected(true);
    let event = new(session.arrived(packet(3, "c")));
    session.disconnected();
    session.connected(false);
    let leavings = session.take_leavings();
    assert_eq!(leavings, Leavings { lost: vec![running.id], cleared: vec![ended.id] });
    new(session.arrived(packet(3, "c")));
    assert!(!session.ended(3, event, id), "its packet is gone");
    assert_eq!(session.take_leavings(), cleared(&[id]));
}
