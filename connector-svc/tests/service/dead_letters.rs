//! Events that could not be handled, and what people do with them.

use mesh::{Error, Reason};
use proto::connector::v1::ListEventLedgersRequest;
use proto::deadletter::v1::{
    DeadLetterFilter, DeadLetterSelection, GetDeadLetterRequest, ListDeadLettersRequest,
    PurgeDeadLettersRequest, RedriveDeadLettersRequest,
};
use serde_json::json;

use crate::support::fakes::Reply;
use crate::support::servers::Mosquitto;
use crate::support::{Connector, Stage, as_subject};

/// Three letters of `ann`, and one of everyone.
async fn four_letters() -> (Stage, Connector, Vec<String>) {
    let (broker, stage) = (Mosquitto::start().await, Stage::new());
    let params = |topic: &str| json!({ "host": "127.0.0.1", "port": broker.port, "topic": topic });
    stage.registry.bind_for("ann", "anns", "mqtt", &params("ann"));
    stage.registry.bind("all", "mqtt", &params("all"));
    stage.scheduler.behave(|_| Reply::Error("broken"));
    let connector = stage.connector().await;
    connector.connected("anns").await;
    connector.connected("all").await;
    for message in ["1", "2", "3"] {
        broker.publish(&["-t", "ann", "-m", message]);
        connector.settled("anns", message.parse().expect("a number")).await;
    }
    broker.publish(&["-t", "all", "-m", "4"]);
    connector.settled("all", 1).await;
    let ids = connector.letters().await.into_iter().map(|letter| letter.id).collect();
    (stage, connector, ids)
}

fn of(ids: &[String]) -> Option<DeadLetterSelection> {
    Some(DeadLetterSelection { ids: ids.to_vec(), ..DeadLetterSelection::default() })
}

#[tokio::test]
async fn letters_are_listed_in_pages_to_whom_they_concern() {
    let (_stage, connector, ids) = four_letters().await;
    let list = async |subject: &str, filter: DeadLetterFilter, page_size: u32, after: &str| {
        let request = ListDeadLettersRequest { filter: Some(filter), page_size, after: after.into() };
        let listed = connector.dead_letters().list_dead_letters(as_subject(subject, request)).await;
        let listed = listed.expect("listed").into_inner();
        (listed.letters.into_iter().map(|letter| letter.id).collect::<Vec<_>>(), listed.more)
    };
    let all = DeadLetterFilter::default;
    assert_eq!(list("ann", all(), 3, "").await, (ids[..3].to_vec(), true));
    assert_eq!(list("ann", all(), 3, &ids[2]).await, (ids[3..].to_vec(), false));
    assert_eq!(list("bob", all(), 0, "").await, (ids[3..].to_vec(), false));
    let filters = [
        (DeadLetterFilter { module: "m".into(), function: "f".into(), ..all() }, 4),
        (DeadLetterFilter { module: "other".into(), ..all() }, 0),
        (DeadLetterFilter { binding_id: "anns".into(), ..all() }, 3),
        (DeadLetterFilter { min_age_ms: 3_600_000, ..all() }, 0),
    ];
    for (filter, expected) in filters {
        assert_eq!(list("ann", filter.clone(), 0, "").await.0.len(), expected, "{filter:?}");
    }

    let get = async |subject: &str, id: &str| {
        let request = as_subject(subject, GetDeadLetterRequest { id: id.into() });
        connector.dead_letters().get_dead_letter(request).await.map(|got| got.into_inner().letter)
    };
    let letter = get("ann", &ids[0]).await.expect("found").expect("a letter");
    assert_eq!((&letter.payload[..], letter.owner.as_str()), (&b"1"[..], "ann"));
    for (subject, id) in [("bob", ids[0].as_str()), ("ann", "no")] {
        let error = Error::from(get(subject, id).await.expect_err("not reached"));
        assert_eq!(error.reason, Reason::DeadLetterNotFound);
    }

    let ledgers = async |subject: &str| {
        let listed = connector
            .events()
            .list_event_ledgers(as_subject(subject, ListEventLedgersRequest::default()))
            .await;
        listed.expect("listed").into_inner().ledgers.len()
    };
    assert_eq!((ledgers("ann").await, ledgers("bob").await), (2, 1));
}

#[tokio::test]
async fn a_redrive_is_the_same_invocation_and_ends_the_letter() {
    let (stage, connector, ids) = four_letters().await;
    let redrive = async |subject: &str, selection: Option<DeadLetterSelection>| {
        let request = as_subject(subject, RedriveDeadLettersRequest { selection });
        connector.dead_letters().redrive_dead_letters(request).await.expect("answered").into_inner()
    };
    let first = stage.scheduler.calls()[0].clone();

    stage.scheduler.behave(|_| Reply::Error("still broken"));
    let response = redrive("ann", of(&ids[..1])).await;
    assert_eq!(
        (response.redriven, response.failures[0].reason.as_str()),
        (0, "the function failed: still broken")
    );
    let letter = connector.letters().await.remove(0);
    assert_eq!((letter.reason.as_str(), letter.attempts), ("the function failed: still broken", 2));
    let again = stage.scheduler.calls().pop().expect("a call");
    assert_eq!((&again.id, again.text()), (&first.id, first.text()));
    assert_eq!(again.request.function_id, "function-of-anns", "whatever its name is by now");

    stage.scheduler.behave(|_| Reply::Answer);
    let not_bobs = redrive("bob", of(&ids[..1])).await;
    assert_eq!((not_bobs.redriven, not_bobs.failures.len()), (0, 1));
    let filter = Some(DeadLetterFilter { binding_id: "anns".into(), ..DeadLetterFilter::default() });
    let response = redrive("ann", Some(DeadLetterSelection { filter, limit: 2, ids: vec![] })).await;
    assert_eq!((response.redriven, response.failures.len()), (2, 0));
    let kept: Vec<_> = connector.letters().await.into_iter().map(|letter| letter.id).collect();
    assert_eq!(kept, ids[2..], "the oldest ones have gone");
    let counts = connector.settled("anns", 3).await;
    assert_eq!((counts.dead_lettered, counts.dead_letters, counts.redriven), (3, 1, 2));
}

#[tokio::test]
async fn purged_letters_are_gone_and_counted() {
    let (_stage, connector, ids) = four_letters().await;
    let purge = async |subject: &str, selection: Option<DeadLetterSelection>| {
        let request = as_subject(subject, PurgeDeadLettersRequest { selection });
        connector.dead_letters().purge_dead_letters(request).await.expect("answered").into_inner().purged
    };
    assert_eq!(purge("bob", of(&ids)).await, 1, "only what he reaches");
    assert_eq!(purge("ann", of(&ids[..1])).await, 1);
    assert_eq!(purge("ann", of(&ids[..1])).await, 0);
    assert_eq!(purge("ann", None).await, 2);
    assert!(connector.letters().await.is_empty());
    let counts = connector.settled("anns", 3).await;
    assert_eq!((counts.dead_lettered, counts.dead_letters, counts.purged), (3, 0, 3));
}
