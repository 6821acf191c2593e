//! Checks and statuses of sinks.

use std::time::Duration;

use mesh::Reason;
use mesh::deadline::Deadline;
use proto::binding::v1::BindingState;
use proto::registry::v1::Binding;
use proto::sink::v1::{CheckSinksRequest, GetSinkStatusRequest, SinkCounts};
use tokio::time::Instant;

use crate::support::receiver::Receiver;
use crate::support::{Database, World, as_user, failure};

#[tokio::test]
async fn checks_return_problems_in_order() {
    let (world, database) = (World::new(), Database::sqlite());
    let sink = world.start(&database).await;
    let binding =
        |kind: &str, params: &str| Binding { id: String::new(), r#type: kind.into(), params: params.into() };
    let sinks = vec![
        binding("couchdb", r#"{"url":"http://couch:5984/db"}"#),
        binding("mongodb", "{}"),
        binding("webhook", r#"{"url":"http://h/","max_attempts":3}"#),
    ];
    let request = CheckSinksRequest { sinks };
    let problems = sink.sinks().check_sinks(request.clone()).await.expect("ok").into_inner().problems;
    assert_eq!((problems[0].as_str(), problems[2].as_str()), ("", ""));
    assert!(problems[1].contains("expected one of: couchdb"), "{}", problems[1]);
    let user = failure(sink.sinks().check_sinks(as_user("ann", request)).await);
    assert_eq!(user.reason, Reason::PermissionDenied);
}

#[tokio::test]
async fn the_first_attempt_is_awaited_within_the_deadline() {
    let (world, database, receiver) = (World::new(), Database::sqlite(), Receiver::start().await);
    let sink = world.start(&database).await;
    let status = |id: &str, wait| {
        let request = GetSinkStatusRequest { ids: vec![id.to_owned()], wait };
        let request = Deadline::after(Duration::from_secs(3)).attach(request);
        let mut sinks = sink.sinks();
        async move { sinks.get_sink_status(request).await.expect("statuses").into_inner().statuses.remove(0) }
    };
    world.registry.put("a", "webhook", &format!(r#"{{"url":"{}"}}"#, receiver.url()));
    let known = status("a", true).await;
    let (it, counts) = (known.status.expect("a status"), known.counts.expect("counts"));
    assert_eq!((it.id.as_str(), it.state()), ("a", BindingState::Connected));
    assert!(it.since_ms > 0 && it.message.is_empty());
    assert_eq!(counts, SinkCounts::default());

    let start = Instant::now();
    let unknown = status("b", true).await.status.expect("a status");
    assert_eq!((unknown.id.as_str(), unknown.state()), ("b", BindingState::Unspecified));
    assert!((2..3).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    let start = Instant::now();
    status("b", false).await;
    assert!(start.elapsed() < Duration::from_secs(1), "without waiting");
}

#[tokio::test]
async fn the_status_after_an_update_is_that_of_the_new_connection() {
    let (world, database, receiver) = (World::new(), Database::sqlite(), Receiver::start().await);
    let mut dead = Receiver::start().await;
    dead.stop().await;
    let sink = world.start(&database).await;
    for _ in 0..3 {
        for (url, expected) in
            [(receiver.url(), BindingState::Connected), (dead.url(), BindingState::Retrying)]
        {
            world.registry.put("a", "webhook", &format!(r#"{{"url":"{url}"}}"#));
            let request = GetSinkStatusRequest { ids: vec!["a".into()], wait: true };
            let request = Deadline::after(Duration::from_secs(10)).attach(request);
            let response = sink.sinks().get_sink_status(request).await.expect("statuses").into_inner();
            let status = response.statuses[0].status.clone().expect("a status");
            assert_eq!(status.state(), expected, "{status:?}");
        }
    }
}

#[tokio::test]
async fn a_secret_is_shown_nowhere() {
    let (world, database, mut receiver) = (World::new(), Database::sqlite(), Receiver::start().await);
    receiver.stop().await;
    let url = receiver.url().replace("http://", "http://user:hunter2@");
    let params = format!(r#"{{"url":"{url}","secret":"hunter2","max_age_s":1}}"#);
    world.registry.put("webhook", "webhook", &params);
    world.registry.put("couchdb", "couchdb", &format!(r#"{{"url":"{url}","max_age_s":1}}"#));
    let nats = url.replace("http://", "nats://").replace("/in", "");
    world.registry.put("nats", "nats", &format!(r#"{{"url":"{nats}","subject":"a","max_age_s":1}}"#));
    let sink = world.start(&database).await;
    let kinds = ["webhook", "couchdb", "nats"];
    for id in kinds {
        sink.take(id, "i", "1").await;
        let message = sink.eventually_is(id, BindingState::Retrying).await;
        assert!(!message.contains("hunter2"), "{message}");
    }
    for id in kinds {
        sink.eventually_counts(id, SinkCounts { accepted: 1, dead: 1, ..SinkCounts::default() }).await;
    }
    for letter in sink.letters().await {
        assert!(!letter.reason.contains("hunter2"), "{}", letter.reason);
    }
}
