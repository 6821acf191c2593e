//! Several connectors, and a database that is not always there.

use mesh::channel::Dialer;
use mesh::endpoint::Endpoint;
use mesh::testing::{eventually, postgres};
use mesh::{Error, Reason};
use proto::binding::v1::BindingState;
use sea_orm::sqlx::Executor as _;
use serde_json::json;

use crate::support::Stage;
use crate::support::fakes::Reply;
use crate::support::servers::Mosquitto;

#[tokio::test]
async fn each_replica_answers_for_all() {
    let (broker, stage) = (Mosquitto::start().await, Stage::shared().await);
    let params = json!({ "host": "127.0.0.1", "port": broker.port, "topic": "#" });
    stage.registry.close_to("local:other");
    stage.registry.bind("b", "mqtt", &params);
    // They reach each other in one house.
    let host = mesh::testing::host("holder");
    host.dialer.provide("registry", stage.registry.router());
    host.dialer.provide("scheduler", stage.scheduler.router());
    let dialer: Dialer = host.dialer.clone();
    let holder = stage.connector_in(host).await;
    let other =
        mesh::Host { dialer, address: Endpoint::Local("other".into()), ..mesh::testing::host("other") };
    let other = stage.connector_in(other).await;
    holder.connected("b").await;
    other.connected("b").await;
    broker.publish(&["-t", "a", "-m", "1"]);
    holder.settled("b", 1).await;
    other.settled("b", 1).await;
    assert_eq!(other.status("no").await.state(), BindingState::Unspecified);
}

#[tokio::test]
async fn another_replica_takes_over_with_the_same_invocations() {
    let (broker, stage) = (Mosquitto::start().await, Stage::shared().await);
    let params = json!({ "host": "127.0.0.1", "port": broker.port, "topic": "#" });
    stage.registry.bind("b", "mqtt", &params);
    let first = stage.connector_without_scheduler("first").await;
    first.host.dialer.provide("scheduler", stage.scheduler.router());
    first.connected("b").await;
    stage.scheduler.behave(|_| Reply::Fail(Error::new(Reason::NoWorker, "No worker available")));
    broker.publish(&["-t", "a", "-m", "1"]);
    eventually("it was tried", async || !stage.scheduler.calls().is_empty()).await;
    first.stop().await;
    stage.scheduler.behave(|_| Reply::Answer);
    let second = stage.connector_without_scheduler("second").await;
    second.host.dialer.provide("scheduler", stage.scheduler.router());
    second.settled("b", 1).await;
    let mut ids: Vec<_> = stage.scheduler.calls().into_iter().map(|call| call.id).collect();
    ids.dedup();
    assert_eq!(ids.len(), 1);
}

#[tokio::test]
async fn a_former_holder_begins_nothing_until_it_holds_the_lease_again() {
    let (broker, stage) = (Mosquitto::start().await, Stage::shared().await);
    let params = json!({ "host": "127.0.0.1", "port": broker.port, "topic": "#" });
    stage.registry.bind("b", "mqtt", &params);
    let connector = stage.connector().await;
    connector.connected("b").await;
    // As another replica does that has come and gone.
    let mut database = postgres::connect(&stage.database()).await;
    database.execute("UPDATE connector_ledger SET epoch = epoch + 1").await.expect("updated");
    broker.publish(&["-t", "a", "-m", "1"]);
    let message = connector.retrying("b").await;
    assert_eq!(message, "it ended by itself");
    assert!(stage.scheduler.calls().is_empty());
    let counts = connector.settled("b", 1).await;
    assert_eq!((counts.received, stage.scheduler.calls().len()), (1, 1));
}

#[tokio::test]
async fn without_its_database_it_is_not_ready_and_takes_nothing() {
    let (broker, stage) = (Mosquitto::start().await, Stage::shared().await);
    let database = stage.database();
    postgres::take_away(&database).await;
    let params = json!({ "host": "127.0.0.1", "port": broker.port, "topic": "#" });
    stage.registry.bind("b", "mqtt", &params);
    let connector = stage.connector().await;
    let is_ready = || *connector.service.readiness.watch().borrow();
    assert!(!is_ready());
    let message = connector.retrying("b").await;
    assert_eq!(message, "the connector's database is not available");
    postgres::give_back(&database).await;
    eventually("it is ready", async || is_ready()).await;
    connector.connected("b").await;

    broker.publish(&["-t", "a", "-m", "1"]);
    connector.settled("b", 1).await;
    postgres::take_away(&database).await;
    broker.publish(&["-t", "a", "-m", "2"]);
    eventually("it is not ready", async || !is_ready()).await;
    assert!(connector.is_connected("b").await, "it tells its state without the counts");
    assert_eq!(stage.scheduler.calls().len(), 1, "nothing runs of which nothing is known");
    postgres::give_back(&database).await;
    let counts = connector.settled("b", 2).await;
    assert_eq!(counts.received, 2);
}
