//! The clock fires.

use std::collections::HashSet;

use mesh::testing::eventually;
use proto::binding::v1::BindingState;
use serde_json::{Value, json};

use crate::support::fakes::Reply;
use crate::support::{Connector, Stage};

fn every_second() -> Value {
    json!({ "schedule": "* * * * * *" })
}

#[tokio::test]
async fn it_fires_in_time() {
    let stage = Stage::new();
    stage.registry.bind("c", "cron", &every_second());
    let connector = stage.connector().await;
    connector.connected("c").await;
    eventually("it has fired", async || stage.scheduler.calls().len() >= 2).await;
    let calls = stage.scheduler.calls();
    assert_ne!(calls[0].id, calls[1].id);
    let args: Value = serde_json::from_slice(&calls[0].args).expect("JSON");
    let at: jiff::Timestamp = args["scheduled_at"].as_str().expect("a time").parse().expect("a time");
    assert!(jiff::Timestamp::now().duration_since(at).as_secs().abs() < 10);
}

#[tokio::test]
async fn of_two_replicas_one_fires() {
    let stage = Stage::shared().await;
    stage.registry.bind("c", "cron", &every_second());
    let here = stage.connector_without_scheduler("here").await;
    let there = stage.connector_without_scheduler("there").await;
    for connector in [&here, &there] {
        connector.host.dialer.provide("scheduler", stage.scheduler.router());
    }
    let times = || stage.scheduler.arguments().into_iter().collect::<HashSet<_>>().len() as u64;
    eventually("it has fired", async || times() >= 5).await;
    stage.registry.unbind("c");
    let is_over =
        async |connector: &Connector| connector.status("c").await.state() == BindingState::Unspecified;
    eventually("it is over", async || is_over(&here).await && is_over(&there).await).await;
    // They take the binding over from each other again and again, and what runs is then resumed, as the
    // same invocation. But each time has begun once.
    let counts = here.counts("c").await;
    assert_eq!(counts.in_flight, 0);
    assert!(counts.received - counts.lost <= times(), "{counts:?}: {} times", times());
}

#[tokio::test]
async fn a_registry_that_is_away_stops_no_clock() {
    let stage = Stage::new();
    stage.registry.bind("c", "cron", &every_second());
    let connector = stage.connector().await;
    connector.connected("c").await;
    stage.registry.go_away();
    // Longer than its lease.
    let before = stage.scheduler.calls().len();
    eventually("it goes on", async || stage.scheduler.calls().len() >= before + 5).await;
}

#[tokio::test]
async fn a_firing_outlives_its_connector() {
    let stage = Stage::new();
    stage.scheduler.behave(|_| Reply::Wait);
    stage.registry.bind("c", "cron", &json!({ "schedule": "* * * * * *", "max_in_flight": 1, "args": [1] }));
    let connector = stage.connector().await;
    eventually("it fires", async || stage.scheduler.running() == 1).await;
    connector.kill();
    stage.scheduler.behave(|_| Reply::Answer);
    let connector = stage.connector().await;
    eventually("it is done", async || connector.counts("c").await.acknowledged >= 1).await;
    let calls = stage.scheduler.calls();
    assert_eq!((&calls[0].id, calls[0].text()), (&calls[1].id, "[1]".to_owned()));
    assert_eq!(calls[1].text(), "[1]");
    stage.registry.unbind("c");
    eventually("the sums hold", async || {
        let counts = connector.counts("c").await;
        counts.in_flight == 0 && counts.received == counts.acknowledged + counts.lost
    })
    .await;
}
