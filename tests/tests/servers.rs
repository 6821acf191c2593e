//! Smoke tests of the servers that other tests use.

use tests::client::http;
use tests::process::Signal;
use tests::servers::{Couch, Mosquitto, Postgres, Prometheus};
use tests::wait;

use std::time::Duration;

use serde_json::{Value, json};

#[tokio::test]
async fn postgres_stores_rows() {
    let postgres = Postgres::start().await;
    postgres.query("CREATE TABLE t (x INT)");
    postgres.query("INSERT INTO t VALUES (41), (42)");
    assert_eq!(postgres.query("SELECT max(x) FROM t"), "42");
}

#[tokio::test]
async fn mosquitto_delivers_messages() {
    let broker = Mosquitto::start().await;
    broker.publish_retained("greetings/today", "hello");
    assert_eq!(broker.receive("greetings/#"), "hello");
}

#[tokio::test]
async fn couch_stores_documents() {
    let couch = Couch::start().await;
    let (database, document) = (format!("{}/results", couch.url()), json!({ "payload": "hello" }));
    let created = http().put(&database).send().await.expect("a response");
    assert_eq!(created.status(), 201);
    let url = format!("{database}/one");
    let written = http().put(&url).json(&document).send().await.expect("a response");
    assert_eq!(written.status(), 201);
    let read: Value = http().get(&url).send().await.expect("a response").json().await.expect("a document");
    assert_eq!(read["payload"], "hello");
}

#[tokio::test]
async fn prometheus_scrapes_targets() {
    let unused = format!("127.0.0.1:{}", tests::process::free_port());
    let prometheus = Prometheus::start(&[unused]).await;
    let url = format!("{}/api/v1/query?query=up", prometheus.url());
    let value = wait::until("Prometheus has scraped the target", Duration::from_secs(20), async || {
        let answer = http().get(&url).send().await.ok()?;
        let answer: Value = answer.json().await.ok()?;
        answer["data"]["result"][0]["value"][1].as_str().map(str::to_owned)
    });
    assert_eq!(value.await, "0", "nothing listens there");
}

#[tokio::test]
async fn servers_stop_when_they_are_dropped() {
    let postgres = Postgres::start().await;
    let url = postgres.url();
    let port = url.split([':', '/']).rev().nth(1).and_then(|port| port.parse::<u16>().ok()).expect("a port");
    postgres.process().signal(Signal::INT);
    drop(postgres);
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err(), "the server still listens");
}
