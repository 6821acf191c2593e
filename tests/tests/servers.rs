//! Each real server that tests use, really used.

use tests::client::http;
use tests::process::Signal;
use tests::servers::{Couch, Mosquitto, Postgres, Prometheus};
use tests::wait;

use std::time::Duration;

use serde_json::{Value, json};

#[tokio::test]
async fn postgres_keeps_what_it_is_told() {
    let postgres = Postgres::start().await;
    postgres.query("CREATE TABLE t (x INT)");
    postgres.query("INSERT INTO t VALUES (41), (42)");
    assert_eq!(postgres.query("SELECT max(x) FROM t"), "42");
}

#[tokio::test]
async fn mosquitto_passes_messages_on() {
    let broker = Mosquitto::start().await;
    broker.publish_retained("greetings/today", "hello");
    assert_eq!(broker.receive("greetings/#"), "hello");
}

#[tokio::test]
async fn couch_keeps_documents() {
    let couch = Couch::start().await;
    let (database, document) = (format!("{}/results", couch.url()), json!({ "payload": "hello" }));
    let created = http().put(&database).send().await.expect("an answer");
    assert_eq!(created.status(), 201);
    let url = format!("{database}/one");
    let written = http().put(&url).json(&document).send().await.expect("an answer");
    assert_eq!(written.status(), 201);
    let read: Value = http().get(&url).send().await.expect("an answer").json().await.expect("a document");
    assert_eq!(read["payload"], "hello");
}

#[tokio::test]
async fn prometheus_scrapes() {
    let nobody = format!("127.0.0.1:{}", tests::process::free_port());
    let prometheus = Prometheus::start(&[nobody]).await;
    let url = format!("{}/api/v1/query?query=up", prometheus.url());
    let value = wait::until("it has scraped", Duration::from_secs(20), async || {
        let answer = http().get(&url).send().await.ok()?;
        let answer: Value = answer.json().await.ok()?;
        answer["data"]["result"][0]["value"][1].as_str().map(str::to_owned)
    });
    assert_eq!(value.await, "0", "nobody answers there");
}

#[tokio::test]
async fn servers_end_with_their_owner() {
    let postgres = Postgres::start().await;
    let url = postgres.url();
    let port = url.split([':', '/']).rev().nth(1).and_then(|port| port.parse::<u16>().ok()).expect("a port");
    postgres.process().signal(Signal::INT);
    drop(postgres);
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err(), "it still listens");
}
