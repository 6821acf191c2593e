//! Dead letters: listed, redriven and purged.

use axum::response::IntoResponse as _;
use http::StatusCode;
use mesh::Reason;
use proto::deadletter::v1::{
    DeadLetter, DeadLetterFilter, DeadLetterSelection, GetDeadLetterRequest, ListDeadLettersRequest,
    PurgeDeadLettersRequest, RedriveDeadLettersRequest, RedriveDeadLettersResponse,
};
use proto::registry::v1::BindingRole;
use proto::sink::v1::{ListSinkLedgersRequest, SinkCounts};
use sink_svc::Config;

use crate::support::receiver::Receiver;
use crate::support::{Database, Sink, World, as_user, assert_conserved, config, contract, failure};

contract!(
    dead_letters_are_listed_in_pages,
    users_access_only_dead_letters_of_their_functions,
    dead_letters_are_redriven,
    dead_letters_are_purged,
    a_full_outbox_limits_redrives,
);

/// A sink with `count` dead letters of the binding `a`.
async fn with_dead_letters(world: &World, config: Config, receiver: &Receiver, count: u64) -> Sink {
    receiver.answer(|_| StatusCode::BAD_REQUEST.into_response());
    let params = format!(r#"{{"url":"{}","max_attempts":1}}"#, receiver.url());
    world.registry.put("a", "webhook", &params);
    let sink = world.start_as(config).await;
    for number in 0..count {
        sink.take("a", &format!("i{number}"), &number.to_string()).await;
        // One after the other, so that they are dead-lettered in this order.
        sink.eventually_counts("a", dead(number + 1)).await;
    }
    sink
}

fn dead(count: u64) -> SinkCounts {
    SinkCounts { accepted: count, dead: count, ..SinkCounts::default() }
}

async fn redrive(sink: &Sink, selection: DeadLetterSelection) -> RedriveDeadLettersResponse {
    let request = RedriveDeadLettersRequest { selection: Some(selection) };
    sink.dead_letters().redrive_dead_letters(request).await.expect("an answer").into_inner()
}

fn ids(letters: &[DeadLetter]) -> Vec<String> {
    letters.iter().map(|letter| letter.id.clone()).collect()
}

async fn dead_letters_are_listed_in_pages(database: Database) {
    let (world, receiver) = (World::new(), Receiver::start().await);
    let sink = with_dead_letters(&world, config(&database), &receiver, 5).await;
    let list = |request: ListDeadLettersRequest| async {
        sink.dead_letters().list_dead_letters(request).await.expect("letters").into_inner()
    };
    let page = list(ListDeadLettersRequest { page_size: 3, ..Default::default() }).await;
    assert!(page.more && page.letters.len() == 3);
    let after = page.letters[2].id.clone();
    let rest = list(ListDeadLettersRequest { page_size: 3, after, ..Default::default() }).await;
    assert!(!rest.more);
    let letters = [page.letters, rest.letters].concat();
    let invocations: Vec<_> = letters.iter().map(|letter| letter.invocation_id.as_str()).collect();
    assert_eq!(invocations, ["i0", "i1", "i2", "i3", "i4"]);

    let letter = &letters[0];
    assert_eq!(letter.role(), BindingRole::Sink);
    assert_eq!((letter.binding_id.as_str(), letter.binding_type.as_str()), ("a", "webhook"));
    assert_eq!((letter.module.as_str(), letter.function.as_str()), ("shop", "order"));
    assert_eq!((letter.reason.as_str(), letter.attempts), ("answered 400 Bad Request", 1));
    assert!(letter.payload.is_empty() && letter.payload_bytes == 1);
    assert!(letter.received_at_ms > 0 && letter.dead_lettered_at_ms >= letter.received_at_ms);
    let request = GetDeadLetterRequest { id: letter.id.clone() };
    let whole =
        sink.dead_letters().get_dead_letter(request).await.expect("a dead letter").into_inner().letter;
    assert_eq!(whole, Some(DeadLetter { payload: "0".into(), ..letter.clone() }));

    for (filter, count) in [
        (DeadLetterFilter { module: "shop".into(), ..Default::default() }, 5),
        (DeadLetterFilter { module: "other".into(), ..Default::default() }, 0),
        (DeadLetterFilter { function: "order".into(), binding_id: "a".into(), ..Default::default() }, 5),
        (DeadLetterFilter { binding_id: "b".into(), ..Default::default() }, 0),
        (DeadLetterFilter { min_age_ms: 3_600_000, ..Default::default() }, 0),
    ] {
        let filtered = list(ListDeadLettersRequest { filter: Some(filter.clone()), ..Default::default() });
        assert_eq!(filtered.await.letters.len(), count, "{filter:?}");
    }
}

async fn users_access_only_dead_letters_of_their_functions(database: Database) {
    let (world, receiver) = (World::new(), Receiver::start().await);
    let sink = with_dead_letters(&world, config(&database), &receiver, 1).await;
    let id = sink.letters().await[0].id.clone();
    let selection = Some(DeadLetterSelection { ids: vec![id.clone()], ..Default::default() });
    for (user, reaches) in [("bob", false), ("ann", true)] {
        let list = as_user(user, ListDeadLettersRequest::default());
        let letters = sink.dead_letters().list_dead_letters(list).await.expect("letters").into_inner();
        assert_eq!(letters.letters.len(), usize::from(reaches), "{user}");
        let ledgers = sink.sinks().list_sink_ledgers(as_user(user, ListSinkLedgersRequest::default())).await;
        assert_eq!(ledgers.expect("ledgers").into_inner().ledgers.len(), usize::from(reaches), "{user}");
        let get = as_user(user, GetDeadLetterRequest { id: id.clone() });
        let got = sink.dead_letters().get_dead_letter(get).await;
        if reaches {
            assert!(got.is_ok());
        } else {
            assert_eq!(failure(got).reason, Reason::DeadLetterNotFound);
        }
        let purge = as_user(user, PurgeDeadLettersRequest { selection: selection.clone() });
        let purged = sink.dead_letters().purge_dead_letters(purge).await.expect("an answer").into_inner();
        assert_eq!(purged.purged, u32::from(reaches), "{user}");
    }
}

async fn dead_letters_are_redriven(database: Database) {
    let (world, receiver) = (World::new(), Receiver::start().await);
    let sink = with_dead_letters(&world, config(&database), &receiver, 4).await;
    let letters = ids(&sink.letters().await);
    // A repeat of a dead-lettered result changes nothing.
    sink.take("a", "i0", "0").await;
    assert_eq!(sink.counts("a").await, dead(4));

    receiver.answer(|_| StatusCode::OK.into_response());
    let one = vec![letters[0].clone(), "no-such-letter".into()];
    let answer = redrive(&sink, DeadLetterSelection { ids: one, ..Default::default() }).await;
    assert_eq!(answer.redriven, 1);
    assert_eq!(answer.failures[0].id, "no-such-letter");
    assert!(answer.failures[0].reason.contains("no dead letter"));
    let counts = SinkCounts { accepted: 4, delivered: 1, dead: 3, ..SinkCounts::default() };
    sink.eventually_counts("a", counts).await;

    let answer = redrive(&sink, DeadLetterSelection { limit: 2, ..Default::default() }).await;
    assert_eq!((answer.redriven, answer.failures.len()), (2, 0));
    let counts = SinkCounts { accepted: 4, delivered: 3, dead: 1, ..SinkCounts::default() };
    sink.eventually_counts("a", counts).await;
    assert_eq!(ids(&sink.letters().await), letters[3..]);
    let mut bodies = receiver.bodies();
    bodies.sort_unstable();
    assert_eq!(bodies, ["0", "1", "2"]);
    assert_conserved(&database).await;
}

async fn dead_letters_are_purged(database: Database) {
    let (world, receiver) = (World::new(), Receiver::start().await);
    let sink = with_dead_letters(&world, config(&database), &receiver, 3).await;
    let filter = Some(DeadLetterFilter { binding_id: "a".into(), ..Default::default() });
    let selection = Some(DeadLetterSelection { filter, limit: 2, ..Default::default() });
    let request = PurgeDeadLettersRequest { selection };
    let purged = sink.dead_letters().purge_dead_letters(request).await.expect("an answer").into_inner();
    assert_eq!(purged.purged, 2);
    let counts = SinkCounts { accepted: 3, dead: 1, purged: 2, ..SinkCounts::default() };
    assert_eq!(sink.counts("a").await, counts);
    sink.take("a", "i0", "0").await;
    assert_eq!(sink.counts("a").await, counts, "purged results are not accepted again");
    assert_conserved(&database).await;

    let many = vec!["x".to_owned(); 1001];
    let selection = Some(DeadLetterSelection { ids: many, ..Default::default() });
    let refused = sink.dead_letters().purge_dead_letters(PurgeDeadLettersRequest { selection }).await;
    assert_eq!(failure(refused).reason, Reason::InvalidField);
}

async fn a_full_outbox_limits_redrives(database: Database) {
    let (world, receiver) = (World::new(), Receiver::start().await);
    let config = Config { max_outbox_rows: 2, ..config(&database) };
    let sink = with_dead_letters(&world, config, &receiver, 3).await;
    // A result that is not delivered.
    sink.take("b", "i", "1").await;
    receiver.answer(|_| StatusCode::SERVICE_UNAVAILABLE.into_response());
    let answer = redrive(&sink, DeadLetterSelection::default()).await;
    assert_eq!((answer.redriven, answer.failures.len()), (1, 2));
    assert!(answer.failures[0].reason.contains("full"), "{}", answer.failures[0].reason);
    let counts = SinkCounts { accepted: 3, pending: 1, dead: 2, ..SinkCounts::default() };
    assert_eq!(sink.counts("a").await, counts);
    assert_conserved(&database).await;
}
