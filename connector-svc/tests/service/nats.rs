//! Messages of a JetStream stream become invocations.

use async_nats::HeaderMap;
use async_nats::jetstream::stream::Config;
use mesh::testing::eventually;
use mesh::testing::nats::HostileNats;
use serde_json::{Value, json};

use crate::support::fakes::Reply;
use crate::support::servers::Nats;
use crate::support::{Connector, Stage};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

async fn bound(more: Value) -> (Nats, Stage, Connector) {
    let (server, stage) = (Nats::start().await, Stage::new());
    let config = Config { name: "S".into(), subjects: vec!["s.>".into()], ..Config::default() };
    server.jetstream().await.create_stream(config).await.expect("a stream");
    let mut params = json!({ "url": server.url(), "stream": "S" });
    params.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    stage.registry.bind("n", "nats", &params);
    let connector = stage.connector().await;
    connector.connected("n").await;
    (server, stage, connector)
}

async fn publish(server: &Nats, subject: &str, message: &str) {
    let jetstream = server.jetstream().await;
    let mut headers = HeaderMap::new();
    headers.insert("unit", "C");
    headers.insert("traceparent", TRACE);
    let sent = jetstream.publish_with_headers(subject.to_owned(), headers, message.to_owned().into()).await;
    sent.expect("sent").await.expect("stored");
}

#[tokio::test]
async fn a_message_runs_the_function() {
    let (server, stage, connector) = bound(json!({ "subject": "s.a", "envelope": true })).await;
    publish(&server, "s.b", "0").await;
    publish(&server, "s.a", "1").await;
    publish(&server, "s.a", "not JSON").await;
    let counts = connector.settled("n", 2).await;
    assert_eq!((counts.received, counts.invalid, counts.dead_letters), (2, 1, 1));
    let args: Value = serde_json::from_slice(&stage.scheduler.calls()[0].args).expect("JSON");
    let expected = json!({ "payload": 1, "subject": "s.a", "stream": "S", "sequence": 2,
        "properties": { "unit": "C", "traceparent": TRACE } });
    assert_eq!(args, expected);
    let told = stage.scheduler.calls()[0].traceparent.clone();
    assert_eq!(told.as_deref(), Some(TRACE), "the message's trace goes on");
    let stream = server.jetstream().await.get_stream("S").await.expect("a stream");
    let pending = async || {
        let info = stream.consumer_info("funless-n").await;
        info.map(|info| (info.num_ack_pending, info.num_pending))
    };
    eventually("all is acknowledged", async || pending().await.is_ok_and(|pending| pending == (0, 0))).await;
    stage.registry.unbind("n");
    eventually("the consumer is gone", async || pending().await.is_err()).await;
}

#[tokio::test]
async fn connector_and_server_may_die() {
    let (mut server, stage, connector) = bound(json!({})).await;
    stage.scheduler.behave(|_| Reply::Wait);
    publish(&server, "s.a", "1").await;
    eventually("it runs", async || stage.scheduler.running() == 1).await;
    server.kill();
    connector.retrying("n").await;
    stage.scheduler.let_go(1);
    eventually("it has ended", async || connector.counts("n").await.acknowledged == 1).await;
    server.start_again().await;
    connector.connected("n").await;
    publish(&server, "s.a", "2").await;
    eventually("the next runs", async || stage.scheduler.running() == 1).await;
    let id = stage.scheduler.calls().pop().expect("a call").id;
    connector.kill();
    stage.scheduler.behave(|_| Reply::Answer);
    // The server sends it again when its patience ends, or at once when it is told to.
    let jetstream = server.jetstream().await;
    let stream = jetstream.get_stream("S").await.expect("a stream");
    // Until the server has noticed that the connector is gone, it would send it there.
    eventually("nobody waits for messages", async || {
        stream.consumer_info("funless-n").await.expect("a consumer").num_waiting == 0
    })
    .await;
    let delivered = stream.consumer_info("funless-n").await.expect("a consumer").delivered;
    let reply =
        format!("$JS.ACK.S.funless-n.1.{}.{}.0.0", delivered.stream_sequence, delivered.consumer_sequence);
    jetstream.client().publish(reply, "-NAK".into()).await.expect("sent");
    jetstream.client().flush().await.expect("sent");
    let connector = stage.connector().await;
    let counts = connector.settled("n", 2).await;
    assert_eq!((counts.received, counts.lost), (2, 0));
    let calls = stage.scheduler.calls();
    let ids: Vec<_> = calls.iter().filter(|call| call.text() == "2").map(|call| &call.id).collect();
    assert_eq!(ids, [&id, &id], "the same invocation");
}

#[tokio::test]
async fn a_slow_function_slows_the_server() {
    let (server, stage, connector) = bound(json!({ "max_in_flight": 2 })).await;
    stage.scheduler.behave(|_| Reply::Wait);
    for n in 0..6 {
        publish(&server, "s.a", &n.to_string()).await;
    }
    eventually("the bound is reached", async || stage.scheduler.running() == 2).await;
    stage.scheduler.let_go(6);
    connector.settled("n", 6).await;
    assert_eq!(stage.scheduler.most_running(), 2);
}

#[tokio::test]
async fn a_missing_stream_is_reported() {
    let (server, stage) = (Nats::start().await, Stage::new());
    stage.registry.bind("n", "nats", &json!({ "url": server.url(), "stream": "NO" }));
    let connector = stage.connector().await;
    let message = connector.retrying("n").await;
    assert!(message.contains("cannot read the stream \"NO\""), "{message}");
}

#[tokio::test]
async fn users_are_shown_to_the_server() {
    let (named, token) = (
        Nats::start_with(&["--user", "u", "--pass", "p\"@"]).await,
        Nats::start_with(&["--auth", "a token"]).await,
    );
    let stage = Stage::new();
    let binding = |server: &Nats, more: Value| {
        let mut params = json!({ "url": server.url(), "stream": "NO" });
        params.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        params
    };
    let known = "cannot read the stream \"NO\"";
    let refused = "the server refuses the connection: not authorized";
    let cases = [
        ("a", binding(&named, json!({ "username": "u", "password": "p\"@" })), known),
        ("b", binding(&named, json!({ "username": "u", "password": "p" })), refused),
        ("c", binding(&named, json!({})), refused),
        ("d", binding(&token, json!({ "token": "a token" })), known),
        ("e", binding(&token, json!({ "token": "another" })), refused),
    ];
    for (id, params, _) in &cases {
        stage.registry.bind(id, "nats", params);
    }
    let connector = stage.connector().await;
    for (id, _, expected) in cases {
        let message = connector.retrying(id).await;
        assert!(message.contains(expected), "{id}: {message}");
    }
}

#[tokio::test]
async fn a_hostile_server_is_read_up_to_a_limit() {
    let (stage, mut servers) = (Stage::new(), Vec::new());
    for (start, more, expected) in [
        ("INFO {\"a\":\"", "a", "the server sent a control line of more than 65536 bytes"),
        (
            "INFO {\"max_payload\":999}\r\nPONG\r\nMSG a 1 314572800\r\n",
            "a",
            "the server sent a message of 314572800 bytes",
        ),
        (
            "INFO {\"max_payload\":999}\r\nPONG\r\nMSG a 0 2000000\r\n",
            "a",
            "the server sent a reply of 2000000 bytes",
        ),
        (
            "INFO {\"max_payload\":999}\r\nPONG\r\n",
            "-ERR\r\n",
            "the server sent a line that is not NATS: \"-ERR\"",
        ),
    ] {
        let (server, id) = (HostileNats::start(start, more).await, servers.len().to_string());
        let url = format!("nats://127.0.0.1:{}", server.port);
        stage.registry.bind(&id, "nats", &json!({ "url": url, "stream": "S" }));
        servers.push((id, server, expected));
    }
    let connector = stage.connector().await;
    for (id, server, expected) in servers {
        let message = connector.retrying(&id).await;
        assert!(message.contains(expected), "{message}");
        server.assert_few_read();
    }
}
