//! Events whose payload is not what their binding accepts.

use mesh::testing::eventually;
use mesh::{Error, Reason};
use proto::deadletter::v1::{
    DeadLetter, DeadLetterSelection, GetDeadLetterRequest, RedriveDeadLettersRequest,
};
use serde_json::json;

use super::mqtt::bound;
use crate::support::fakes::Reply;
use crate::support::servers::Mosquitto;
use crate::support::{Connector, Stage};

/// A dead letter with its payload.
async fn whole(connector: &Connector, id: &str) -> DeadLetter {
    let request = GetDeadLetterRequest { id: id.into() };
    let found = connector.dead_letters().get_dead_letter(request).await.expect("found").into_inner();
    found.letter.expect("a dead letter")
}

#[tokio::test]
async fn an_invalid_event_becomes_a_dead_letter_with_its_payload() {
    let (broker, stage, connector) = bound(json!({})).await;
    let file = stage.folder().path().join("payload");
    std::fs::write(&file, b"\xff\x00{").expect("written");
    broker.publish(&["-t", "a", "-m", "hello"]);
    connector.settled("b", 1).await;
    broker.publish(&["-t", "a", "-f", file.to_str().expect("a path")]);
    connector.settled("b", 2).await;
    broker.publish(&["-t", "a", "-m", "7"]);
    let counts = connector.settled("b", 3).await;
    assert_eq!((counts.received, counts.invalid, counts.dead_lettered, counts.dead_letters), (3, 2, 2, 2));
    assert_eq!(stage.scheduler.arguments(), ["7"]);

    let letters = connector.letters().await;
    assert!(letters.iter().all(|letter| letter.invalid && letter.attempts == 0), "{letters:?}");
    let expected = [
        (&b"hello"[..], "the payload is not valid JSON: expected value at line 1 column 1"),
        (b"\xff\x00{", "the payload is not valid UTF-8"),
    ];
    for (letter, (payload, reason)) in letters.iter().zip(expected) {
        let letter = whole(&connector, &letter.id).await;
        assert_eq!((&letter.payload[..], letter.payload_bytes as usize), (payload, payload.len()));
        assert_eq!((letter.reason.as_str(), letter.module.as_str()), (reason, "m"));
        assert!(letter.received_at_ms > 0 && !letter.invocation_id.is_empty());
    }
}

#[tokio::test]
async fn a_binding_may_drop_invalid_events() {
    for more in [json!({ "on_invalid": "drop" }), json!({ "on_invalid": "drop", "qos": 0 })] {
        let (broker, _stage, connector) = bound(more).await;
        for message in ["hello", "7"] {
            broker.publish(&["-t", "a", "-m", message]);
        }
        let counts = connector.settled("b", 2).await;
        assert_eq!((counts.received, counts.invalid, counts.dead_lettered), (2, 1, 0));
        assert!(connector.letters().await.is_empty());
    }
}

#[tokio::test]
async fn an_invalid_event_is_not_redriven() {
    let (broker, stage, connector) = bound(json!({})).await;
    broker.publish(&["-t", "a", "-m", "hello"]);
    connector.settled("b", 1).await;
    let letter = connector.letters().await.remove(0);
    for ids in [vec![letter.id.clone()], Vec::new()] {
        let selection = Some(DeadLetterSelection { ids, ..DeadLetterSelection::default() });
        let request = RedriveDeadLettersRequest { selection };
        let response = connector.dead_letters().redrive_dead_letters(request).await.expect("answered");
        let failures = response.into_inner().failures;
        assert_eq!(
            failures[0].reason,
            "an invalid event cannot be redriven: the payload is not valid JSON: expected value at line 1 column 1"
        );
    }
    assert!(stage.scheduler.calls().is_empty());
    assert_eq!(connector.letters().await, [letter], "it stays as it was");
}

/// The broker keeps what is not durable.
#[tokio::test]
async fn an_invalid_event_is_acknowledged_after_its_dead_letter_is_written() {
    use mesh::testing::postgres;
    let (broker, stage) = (Mosquitto::start().await, Stage::shared().await);
    let params = json!({ "host": "127.0.0.1", "port": broker.port, "topic": "#" });
    stage.registry.bind("b", "mqtt", &params);
    let connector = stage.connector().await;
    connector.connected("b").await;
    let database = stage.database();
    postgres::take_away(&database).await;
    broker.publish(&["-t", "a", "-m", "hello"]);
    eventually("the event came in", async || connector.status("b").await.last_activity_ms > 0).await;
    connector.kill();
    postgres::give_back(&database).await;
    let connector = stage.connector().await;
    let counts = connector.settled("b", 1).await;
    assert_eq!((counts.received, counts.invalid, counts.dead_letters), (1, 1, 1));
    assert_eq!(whole(&connector, &connector.letters().await[0].id).await.payload, "hello");
}

/// An update may change what a binding accepts while an event is in flight.
#[tokio::test]
async fn an_event_in_flight_may_become_invalid() {
    let (broker, stage, connector) = bound(json!({ "payload": "text" })).await;
    stage.scheduler.behave(|_| Reply::Fail(Error::new(Reason::NoWorker, "No worker available")));
    broker.publish(&["-t", "a", "-m", "hello"]);
    eventually("it was tried", async || !stage.scheduler.calls().is_empty()).await;
    stage.registry.rebind("b", &json!({ "host": "127.0.0.1", "port": broker.port, "topic": "#" }));
    let counts = connector.settled("b", 1).await;
    assert_eq!((counts.received, counts.invalid, counts.dead_letters), (1, 1, 1));
    let letter = connector.letters().await.remove(0);
    assert_eq!(letter.invocation_id, stage.scheduler.calls()[0].id, "the invocation that it has caused");
}
