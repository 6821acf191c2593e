//! Messages of a broker while one thing or the other is killed.

use std::collections::HashMap;

use mesh::testing::eventually;
use mesh::{Error, Reason};
use serde_json::json;

use super::mqtt::{bound, publish_lines};
use crate::support::Stage;
use crate::support::fakes::{FakeScheduler, Reply};
use crate::support::servers::Mosquitto;

#[tokio::test]
async fn a_connector_that_dies_meanwhile_runs_the_same_invocation_again() {
    for version in ["5", "3.1.1"] {
        let (broker, stage, connector) = bound(json!({ "version": version })).await;
        stage.scheduler.behave(|_| Reply::Wait);
        for message in ["1", "2", "2"] {
            broker.publish(&["-t", "a", "-m", message]);
        }
        eventually("all run", async || stage.scheduler.running() == 3).await;
        let ids = ids_by_argument(&stage.scheduler);
        let counts = connector.counts("b").await;
        assert_eq!((counts.received, counts.acknowledged, counts.in_flight), (3, 0, 3));
        connector.kill();
        eventually("nothing runs", async || stage.scheduler.running() == 0).await;

        stage.scheduler.behave(|_| Reply::Answer);
        let connector = stage.connector().await;
        let counts = connector.settled("b", 3).await;
        assert_eq!((counts.received, counts.lost), (3, 0));
        assert_eq!(stage.scheduler.calls().len(), 6);
        assert_eq!(ids_by_argument(&stage.scheduler), ids, "the same invocations");
    }
}

fn ids_by_argument(scheduler: &FakeScheduler) -> HashMap<String, Vec<String>> {
    let mut ids = HashMap::<_, Vec<_>>::new();
    for call in scheduler.calls() {
        ids.entry(call.text()).or_default().push(call.id);
    }
    for ids in ids.values_mut() {
        ids.sort();
        ids.dedup();
    }
    ids
}

#[tokio::test]
async fn a_broker_that_dies_meanwhile_sends_nothing_twice() {
    for version in ["5", "3.1.1"] {
        let (mut broker, stage, connector) = bound(json!({ "version": version })).await;
        stage.scheduler.behave(|_| Reply::Wait);
        for message in ["1", "2", "3"] {
            broker.publish(&["-t", "a", "-m", message]);
        }
        eventually("all run", async || stage.scheduler.running() == 3).await;
        broker.kill();
        let message = connector.retrying("b").await;
        assert!(message.contains("broker"), "{message}");
        // One ends while the broker is away.
        stage.scheduler.let_go(1);
        eventually("it has ended", async || connector.counts("b").await.acknowledged == 1).await;
        broker.start_again().await;
        connector.connected("b").await;
        stage.scheduler.let_go(2);
        connector.settled("b", 3).await;
        stage.scheduler.behave(|_| Reply::Answer);
        broker.publish(&["-t", "a", "-m", "4"]);
        connector.settled("b", 4).await;
        assert_eq!(stage.scheduler.arguments(), ["1", "2", "3", "4"], "each once");
    }
}

#[tokio::test]
async fn what_has_ended_without_an_acknowledgement_is_acknowledged_after_a_restart() {
    let (mut broker, stage, connector) = bound(json!({})).await;
    stage.scheduler.behave(|_| Reply::Wait);
    broker.publish(&["-t", "a", "-m", "1"]);
    eventually("it runs", async || stage.scheduler.running() == 1).await;
    broker.kill();
    connector.retrying("b").await;
    stage.scheduler.let_go(1);
    connector.settled("b", 1).await;
    connector.kill();
    broker.start_again().await;
    let connector = stage.connector().await;
    connector.connected("b").await;
    stage.scheduler.behave(|_| Reply::Answer);
    broker.publish(&["-t", "a", "-m", "2"]);
    connector.settled("b", 2).await;
    assert_eq!(stage.scheduler.arguments(), ["1", "2"], "it was not run again");
}

#[tokio::test]
async fn a_lost_session_loses_its_events_in_flight() {
    let (mut broker, stage, connector) = bound(json!({})).await;
    stage.scheduler.behave(|_| Reply::Wait);
    for message in ["1", "2"] {
        broker.publish(&["-t", "a", "-m", message]);
    }
    eventually("all run", async || stage.scheduler.running() == 2).await;
    connector.kill();
    broker.kill_and_delete_state();
    broker.start_again().await;
    stage.scheduler.behave(|_| Reply::Answer);
    let connector = stage.connector().await;
    connector.connected("b").await;
    broker.publish(&["-t", "a", "-m", "3"]);
    let counts = connector.settled("b", 1).await;
    assert_eq!((counts.received, counts.lost), (3, 2), "the broker does not have them any more");
}

#[tokio::test]
async fn while_the_scheduler_is_away_events_wait() {
    let (broker, stage) = (Mosquitto::start().await, Stage::new());
    let params = json!({ "host": "127.0.0.1", "port": broker.port, "topic": "#", "max_attempts": 1 });
    stage.registry.bind("b", "mqtt", &params);
    let connector = stage.connector_without_scheduler("connector").await;
    connector.connected("b").await;
    for message in ["1", "2", "3"] {
        broker.publish(&["-t", "a", "-m", message]);
    }
    eventually("they wait", async || connector.counts("b").await.in_flight == 3).await;
    connector.host.dialer.provide("scheduler", stage.scheduler.router());
    let counts = connector.settled("b", 3).await;
    assert_eq!(counts.dead_lettered, 0, "an absent scheduler is not an attempt");
    assert_eq!(stage.scheduler.arguments(), ["1", "2", "3"]);
}

#[tokio::test]
async fn faults_of_the_platform_pass() {
    let (broker, stage, connector) = bound(json!({ "max_attempts": 2 })).await;
    let scheduler = stage.scheduler.clone();
    stage.scheduler.behave(move |request| {
        let has_come = scheduler.calls().iter().any(|call| call.id == request.invocation_id);
        match has_come {
            false => Reply::Fail(Error::new(Reason::WorkerLost, "the worker was lost")),
            true => Reply::Answer,
        }
    });
    broker.publish(&["-t", "a", "-m", "1"]);
    let counts = connector.settled("b", 1).await;
    assert_eq!(counts.dead_lettered, 0);
    let calls = stage.scheduler.calls();
    assert_eq!((calls.len(), &calls[0].id), (2, &calls[1].id), "the same invocation again");
}

#[tokio::test]
async fn without_workers_events_wait_until_they_are_too_old() {
    let (broker, stage, connector) = bound(json!({ "max_attempts": 1 })).await;
    let scheduler = stage.scheduler.clone();
    stage.scheduler.behave(move |_| match scheduler.calls().len() {
        0..3 => Reply::Fail(Error::new(Reason::NoWorker, "No worker available")),
        _ => Reply::Answer,
    });
    broker.publish(&["-t", "a", "-m", "1"]);
    let counts = connector.settled("b", 1).await;
    assert_eq!(counts.dead_lettered, 0, "that is not an attempt");

    let (broker, stage, connector) = bound(json!({ "max_attempts": 1, "max_age_s": 1 })).await;
    stage.scheduler.behave(|_| Reply::Fail(Error::new(Reason::NoWorker, "No worker available")));
    broker.publish(&["-t", "a", "-m", "1"]);
    assert_eq!(connector.settled("b", 1).await.dead_lettered, 1);
    let letters = connector.letters().await;
    assert_eq!(letters[0].reason, "it waited for longer than max_age_s: No worker available");
}

#[tokio::test]
async fn sinks_that_take_no_result_are_waited_for() {
    let (broker, stage, connector) = bound(json!({ "max_attempts": 1 })).await;
    let scheduler = stage.scheduler.clone();
    stage.scheduler.behave(move |_| match scheduler.calls().len() {
        0 | 1 => Reply::Fail(Error::new(Reason::ResultNotTaken, "the outbox of the sinks is full")),
        _ => Reply::Answer,
    });
    broker.publish(&["-t", "a", "-m", "1"]);
    let counts = connector.settled("b", 1).await;
    assert_eq!(counts.dead_lettered, 0, "that is not an attempt");
    let calls = stage.scheduler.calls();
    assert!(calls.len() == 3 && calls.iter().all(|call| call.id == calls[0].id), "{calls:?}");
}

#[tokio::test]
async fn a_poison_event_becomes_a_dead_letter_and_the_others_pass() {
    let (broker, stage, connector) = bound(json!({ "max_attempts": 1 })).await;
    stage.scheduler.behave(|request| match request.args.as_ref() {
        b"\"error\"" => Reply::Error("it hurts"),
        b"\"trap\"" => Reply::Fail(Error::new(Reason::GuestTrapped, "unreachable")),
        b"\"fault\"" => Reply::Fail(Error::new(Reason::WorkerLost, "the worker was lost")),
        _ => Reply::Answer,
    });
    for message in ["1", "\"error\"", "2", "\"trap\"", "3", "\"fault\""] {
        broker.publish(&["-t", "a", "-m", message]);
    }
    let counts = connector.settled("b", 6).await;
    assert_eq!((counts.dead_lettered, counts.dead_letters), (3, 3));
    let mut letters = connector.letters().await;
    letters.sort_by(|a, b| a.reason.cmp(&b.reason));
    let reasons: Vec<_> = letters.iter().map(|letter| letter.reason.as_str()).collect();
    assert_eq!(reasons, ["the function failed: it hurts", "the worker was lost", "unreachable"]);
    let ids: Vec<_> = stage.scheduler.calls().into_iter().map(|call| call.id).collect();
    for letter in &letters {
        assert_eq!((letter.binding_id.as_str(), letter.binding_type.as_str()), ("b", "mqtt"));
        assert_eq!((letter.module.as_str(), letter.function.as_str(), letter.attempts), ("m", "f", 1));
        assert!(ids.contains(&letter.invocation_id) && letter.payload.is_empty() && letter.payload_bytes > 5);
    }
}

#[tokio::test]
async fn a_stop_leaves_what_runs_to_the_next() {
    let (broker, stage, connector) = bound(json!({})).await;
    // It fails for a while, so that it is to be tried again when the stop comes.
    stage.scheduler.behave(|_| Reply::Fail(Error::new(Reason::NoWorker, "No worker available")));
    broker.publish(&["-t", "a", "-m", "1"]);
    eventually("it was tried", async || !stage.scheduler.calls().is_empty()).await;
    connector.stop().await;
    assert_eq!(stage.registry.released(), 1);
    stage.scheduler.behave(|_| Reply::Answer);
    let connector = stage.connector().await;
    connector.settled("b", 1).await;
    let ids = ids_by_argument(&stage.scheduler);
    assert_eq!(ids["1"].len(), 1, "{ids:?}");
}

#[tokio::test]
async fn a_removed_binding_leaves_nothing_at_the_broker() {
    for version in ["5", "3.1.1"] {
        let (broker, stage, connector) = bound(json!({ "version": version })).await;
        stage.scheduler.behave(|_| Reply::Fail(Error::new(Reason::NoWorker, "No worker available")));
        broker.publish(&["-t", "a", "-m", "1"]);
        eventually("it is in flight", async || connector.counts("b").await.in_flight == 1).await;
        stage.registry.unbind("b");
        eventually("it is lost", async || connector.counts("b").await.lost == 1).await;
        let is_gone = async || connector.status("b").await.state_is_unknown();
        eventually("it runs no more", is_gone).await;
        // Were the session still there, the broker would send again what was not acknowledged.
        let before = stage.scheduler.calls().len();
        stage.scheduler.behave(|_| Reply::Answer);
        let params = json!({ "host": "127.0.0.1", "port": broker.port, "topic": "#", "version": version });
        stage.registry.bind("b", "mqtt", &params);
        connector.connected("b").await;
        broker.publish(&["-t", "a", "-m", "2"]);
        connector.settled("b", 1).await;
        assert_eq!(
            stage.scheduler.calls()[before..].iter().map(|call| call.text()).collect::<Vec<_>>(),
            ["2"]
        );
    }
}

trait Unknown {
    fn state_is_unknown(&self) -> bool;
}

impl Unknown for proto::binding::v1::BindingStatus {
    fn state_is_unknown(&self) -> bool {
        self.state() == proto::binding::v1::BindingState::Unspecified
    }
}

/// Each message once, whenever the connector dies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_messages_while_the_connector_is_killed() {
    const MESSAGES: usize = 800;
    const ROUNDS: usize = 4;
    let (broker, stage, mut connector) = bound(json!({})).await;
    let lines: Vec<_> = (0..MESSAGES).map(|n| format!("{{\"n\":{n}}}")).collect();
    for (round, part) in lines.chunks(MESSAGES / ROUNDS).enumerate() {
        let file = Mosquitto::write(stage.folder(), "lines", &part.join("\n"));
        publish_lines(&broker, &file).await;
        let some = (MESSAGES / ROUNDS * round + 40) as u64;
        eventually("some have come", async || connector.counts("b").await.received >= some).await;
        connector.kill();
        connector = stage.connector().await;
    }
    let counts = connector.settled("b", MESSAGES as u64).await;
    assert_eq!((counts.dead_lettered, counts.lost, counts.received), (0, 0, MESSAGES as u64));
    let ids = ids_by_argument(&stage.scheduler);
    assert_eq!(ids.len(), MESSAGES, "nothing is lost");
    let doubled: Vec<_> = ids.iter().filter(|(_, ids)| ids.len() > 1).collect();
    assert!(doubled.is_empty(), "one invocation each: {doubled:?}");
}
