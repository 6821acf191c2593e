//! The outbox: results are kept, counted once, and bounded.

use axum::response::IntoResponse as _;
use futures::future::join_all;
use http::StatusCode;
use mesh::Reason;
use mesh::testing::{eventually, postgres};
use proto::sink::v1::{DeliverRequest, GetSinkStatusRequest, SinkCounts};
use sink_svc::Config;

use crate::support::receiver::Receiver;
use crate::support::{
    Database, World, as_user, assert_conserved, config, contract, delivered, delivery, failure,
};

contract!(
    a_result_is_accepted_once_for_each_sink,
    a_delivered_result_is_not_accepted_again,
    concurrent_results_are_all_counted,
    a_kill_loses_nothing,
    old_delivered_results_are_deleted,
    a_full_outbox_refuses_results,
    a_lost_row_shows,
    a_result_stays_pending_without_its_dead_letter,
);

fn pending(count: u64) -> SinkCounts {
    SinkCounts { accepted: count, pending: count, ..SinkCounts::default() }
}

async fn a_result_is_accepted_once_for_each_sink(database: Database) {
    let world = World::new();
    let sink = world.start(&database).await;
    let both = delivery(&["a", "b", "a"], "i1", "{}");
    sink.delivery().deliver(both.clone()).await.expect("accepted");
    sink.delivery().deliver(both).await.expect("a repeat");
    sink.take("a", "i2", "{}").await;
    assert_eq!(sink.counts("a").await, pending(2));
    assert_eq!(sink.counts("b").await, pending(1));
    assert_conserved(&database).await;
    sink.stop().await;

    let sink = world.start(&database).await;
    sink.take("b", "i1", "{}").await;
    assert_eq!(sink.counts("b").await, pending(1), "i1 is still known");
    assert_conserved(&database).await;
}

async fn a_delivered_result_is_not_accepted_again(database: Database) {
    let (world, receiver) = (World::new(), Receiver::start().await);
    world.registry.put("a", "webhook", &format!(r#"{{"url":"{}"}}"#, receiver.url()));
    let sink = world.start(&database).await;
    sink.take("a", "i1", "1").await;
    sink.eventually_counts("a", delivered(1)).await;
    sink.take("a", "i1", "1").await;
    sink.take("a", "i2", "2").await;
    sink.eventually_counts("a", delivered(2)).await;
    assert_eq!(receiver.bodies(), ["1", "2"]);
    assert_conserved(&database).await;
}

async fn concurrent_results_are_all_counted(database: Database) {
    let (world, receiver) = (World::new(), Receiver::start().await);
    world.registry.put("a", "webhook", &format!(r#"{{"url":"{}","max_in_flight":32}}"#, receiver.url()));
    let sink = world.start(&database).await;
    // Each of them twice.
    let results = (0..600).map(|number| (number / 2).to_string());
    join_all(results.map(|result| async {
        let (result, sink) = (result, &sink);
        sink.take("a", &format!("i{result}"), &result).await;
    }))
    .await;
    sink.eventually_counts("a", delivered(300)).await;
    let mut bodies: Vec<u32> =
        receiver.bodies().into_iter().map(|body| body.parse().expect("a number")).collect();
    bodies.sort_unstable();
    assert!(bodies.into_iter().eq(0..300), "each is delivered once");
    assert_conserved(&database).await;
}

async fn a_kill_loses_nothing(database: Database) {
    let (world, mut receiver) = (World::new(), Receiver::start().await);
    world.registry.put("a", "webhook", &format!(r#"{{"url":"{}"}}"#, receiver.url()));
    receiver.stop().await;
    let mut accepted = 0;
    for run in 0..3 {
        let sink = world.start(&database).await;
        let writes = (0..40).map(|number| {
            let (sink, id) = (&sink, format!("{run}-{number}"));
            async move { sink.deliver("a", &id, "1").await }
        });
        accepted += join_all(writes).await.into_iter().filter(Result::is_ok).count() as u64;
        sink.kill();
    }
    assert_conserved(&database).await;

    receiver.listen().await;
    let sink = world.start(&database).await;
    sink.eventually_counts("a", delivered(accepted)).await;
    let mut invocations: Vec<_> = receiver
        .taken()
        .iter()
        .map(|received| received.headers["idempotency-key"].to_str().expect("text").to_owned())
        .collect();
    invocations.sort_unstable();
    invocations.dedup();
    assert_eq!(invocations.len() as u64, accepted, "each is delivered");
    assert_conserved(&database).await;
}

async fn old_delivered_results_are_deleted(database: Database) {
    let (world, receiver) = (World::new(), Receiver::start().await);
    world.registry.put("a", "webhook", &format!(r#"{{"url":"{}"}}"#, receiver.url()));
    let sink = world.start_as(Config { remember_delivered_rows: 3, ..config(&database) }).await;
    for number in 0..10 {
        sink.take("a", &format!("i{number}"), "1").await;
    }
    // A pending result is not deleted.
    sink.take("b", "i", "1").await;
    sink.eventually_counts("a", delivered(10)).await;
    let rows = async || database.number("SELECT count(*) FROM sink_outbox").await == 3;
    eventually("three are left", rows).await;
    assert_eq!(sink.counts("b").await, pending(1));
    sink.take("a", "i9", "1").await;
    assert_eq!(sink.counts("a").await, delivered(10), "the newest are remembered");
    assert_conserved(&database).await;
}

async fn a_full_outbox_refuses_results(database: Database) {
    let world = World::new();
    for config in [
        Config { max_outbox_rows: 4, ..config(&database) },
        Config { max_outbox_bytes: 20, ..config(&database) },
    ] {
        let sink = world.start_as(config).await;
        let before = sink.counts("a").await.pending;
        for number in before..before + 2 {
            sink.take("a", &format!("i{number}"), "12345").await;
        }
        if before == 0 {
            sink.stop().await;
            continue;
        }
        let refused = failure(sink.deliver("a", "more", "12345").await);
        assert_eq!(refused.reason, Reason::Overloaded);
        assert!(refused.retry_after.is_some());
        sink.stop().await;
    }
    // The outbox is still full after a restart.
    let sink = world.start_as(Config { max_outbox_rows: 4, ..config(&database) }).await;
    assert_eq!(failure(sink.deliver("a", "more", "1").await).reason, Reason::Overloaded);
    let huge = sink.delivery().deliver(delivery(&["1", "2", "3", "4", "5"], "i", "1")).await;
    assert_eq!(failure(huge).reason, Reason::TooLarge, "it never fits");
    assert_conserved(&database).await;
}

async fn a_lost_row_shows(database: Database) {
    let world = World::new();
    let sink = world.start(&database).await;
    for number in 0..3 {
        sink.take("a", &format!("i{number}"), "1").await;
    }
    assert_eq!(sink.counts("a").await, pending(3));
    database.execute("DELETE FROM sink_outbox WHERE invocation_id = 'i1'", []).await;
    let lost = SinkCounts { pending: 2, ..pending(3) };
    assert_eq!(sink.counts("a").await, lost);
    let request = GetSinkStatusRequest { ids: vec!["a".into()], wait: false };
    let statuses = sink.sinks().get_sink_status(request).await.expect("statuses").into_inner().statuses;
    assert_eq!(statuses[0].counts, Some(lost));
    // However wrong the ledger is, no count wraps around.
    database.execute("UPDATE sink_ledger SET delivered = -1", []).await;
    assert_eq!(sink.counts("a").await, lost);
}

async fn a_result_stays_pending_without_its_dead_letter(database: Database) {
    let (world, receiver) = (World::new(), Receiver::start().await);
    receiver.answer(|_| StatusCode::SERVICE_UNAVAILABLE.into_response());
    world.registry.put("a", "webhook", &format!(r#"{{"url":"{}","max_attempts":1}}"#, receiver.url()));
    let sink = world.start(&database).await;
    sink.take("a", "i", "1").await;
    eventually("a request was sent", async || receiver.requests() > 0).await;
    // Hides the binding's row, which the dead letter needs.
    database.execute("UPDATE sink_binding SET id = 'hidden'", []).await;
    receiver.answer(|_| StatusCode::BAD_REQUEST.into_response());
    let requests = receiver.requests();
    eventually("it is refused", async || receiver.requests() > requests).await;
    assert_eq!(database.number("SELECT count(*) FROM sink_outbox WHERE state = 0").await, 1);
    assert_conserved(&database).await;
    database.execute("UPDATE sink_binding SET id = 'a'", []).await;
    sink.eventually_counts("a", SinkCounts { accepted: 1, dead: 1, ..SinkCounts::default() }).await;
    assert_eq!(sink.letters().await[0].invocation_id, "i");
    assert_conserved(&database).await;
}

#[tokio::test]
async fn without_a_database_the_sink_is_unavailable() {
    let name = postgres::create_database().await;
    let database = Database::Postgres(name.clone());
    postgres::take_away(&name).await;
    let (world, receiver) = (World::new(), Receiver::start().await);
    world.registry.put("a", "webhook", &format!(r#"{{"url":"{}"}}"#, receiver.url()));
    let sink = world.start(&database).await;
    assert!(!sink.is_ready());
    assert_eq!(failure(sink.deliver("a", "i0", "1").await).reason, Reason::Unavailable);

    postgres::give_back(&name).await;
    eventually("the sink is ready", async || sink.is_ready()).await;
    sink.take("a", "i1", "1").await;
    sink.eventually_counts("a", delivered(1)).await;

    postgres::take_away(&name).await;
    eventually("the sink is not ready", async || !sink.is_ready()).await;
    assert_eq!(sink.service.readiness.missing(), ["database"]);
    assert_eq!(failure(sink.deliver("a", "i2", "1").await).reason, Reason::Unavailable);
    postgres::give_back(&name).await;
    eventually("the sink accepts results", async || sink.deliver("a", "i2", "1").await.is_ok()).await;
    sink.eventually_counts("a", delivered(2)).await;
}

#[tokio::test]
async fn invalid_results_are_refused_with_the_reason() {
    let (world, database) = (World::new(), Database::sqlite());
    let sink = world.start(&database).await;
    let good = delivery(&["a"], "i", "1");
    for (field, request) in [
        ("invocation_id", DeliverRequest { invocation_id: String::new(), ..good.clone() }),
        ("invocation_id", DeliverRequest { invocation_id: "x".repeat(129), ..good.clone() }),
        ("invocation_id", DeliverRequest { invocation_id: "i\0".into(), ..good.clone() }),
        ("invocation_id", DeliverRequest { invocation_id: "größer".into(), ..good.clone() }),
        ("function_id", DeliverRequest { function_id: String::new(), ..good.clone() }),
        ("result", DeliverRequest { result: Default::default(), ..good.clone() }),
        ("sinks", DeliverRequest { sinks: vec![String::new()], ..good.clone() }),
    ] {
        let refused = failure(sink.delivery().deliver(request).await);
        assert_eq!(refused.reason, Reason::InvalidField);
        assert_eq!(refused.fields[0].0, field);
    }
    let user = failure(sink.delivery().deliver(as_user("ann", good.clone())).await);
    assert_eq!(user.reason, Reason::PermissionDenied);
    let longest = DeliverRequest { invocation_id: "x".repeat(128), ..good };
    sink.delivery().deliver(longest).await.expect("accepted");
}

#[tokio::test]
async fn a_bad_write_does_not_affect_others() {
    let database = Database::postgres().await;
    let world = World::new();
    let sink = world.start(&database).await;
    let writes = (0..60).map(|number| {
        // PostgreSQL cannot store NUL in text.
        let bad = if number % 20 == 7 { "\0" } else { "" };
        let sink = &sink;
        async move { sink.deliver(&format!("a{bad}"), &format!("i{number}"), "1").await.is_ok() }
    });
    let accepted = join_all(writes).await;
    for (number, accepted) in accepted.into_iter().enumerate() {
        assert_eq!(accepted, number % 20 != 7, "{number}");
    }
    assert_eq!(sink.counts("a").await, pending(57));
    assert_conserved(&database).await;
}
