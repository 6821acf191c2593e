//! Event sources and sinks that FunLess does not have.

use std::time::Duration;

use serde_json::{Value, json};
use tests::client::Upload;
use tests::receiver::Receiver;
use tests::servers::Nats;
use tests::{Mesh, Shape, guests};

const LIMIT: Duration = Duration::from_secs(20);

pub async fn from_cron_to_a_webhook(shape: Shape) {
    let mesh = Mesh::start(shape).await;
    let receiver = Receiver::start().await;
    let events = json!([{ "type": "cron", "params": {
        "schedule": "* * * * * *", "timezone": "Europe/Rome", "args": { "from": "cron" }
    } }]);
    let sinks = json!([{ "type": "webhook", "params": { "url": receiver.url(), "secret": "s" } }]);
    let upload = Upload::function("f", &guests::echo())
        .text("events", events.to_string())
        .text("sinks", sinks.to_string());
    mesh.user().post_form("/v1/fn/_", upload).await.expect(201);
    let posted = receiver.taken(2, LIMIT).await;
    for post in &posted {
        assert_eq!(post.body, json!({ "from": "cron" }));
        assert!(post.headers.contains_key("idempotency-key"), "{post:?}");
        assert!(post.headers.contains_key("x-funless-signature"), "{post:?}");
    }
    assert_ne!(posted[0].headers["idempotency-key"], posted[1].headers["idempotency-key"]);
}

pub async fn from_nats_to_nats(shape: Shape) {
    let mesh = Mesh::start(shape).await;
    let nats = Nats::start().await;
    let jetstream = nats.jetstream().await;
    for (name, subject) in [("IN", "in.>"), ("OUT", "out")] {
        let config = async_nats::jetstream::stream::Config {
            name: name.into(),
            subjects: vec![subject.into()],
            ..Default::default()
        };
        jetstream.create_stream(config).await.expect("a stream");
    }
    let events =
        json!([{ "type": "nats", "params": { "url": nats.url(), "stream": "IN", "subject": "in.a" } }]);
    let sinks = json!([{ "type": "nats", "params": { "url": nats.url(), "subject": "out" } }]);
    let upload = Upload::function("f", &guests::echo())
        .text("events", events.to_string())
        .text("sinks", sinks.to_string());
    mesh.user().post_form("/v1/fn/_", upload).await.expect(201);
    for number in 0..20 {
        let message = json!({ "number": number }).to_string();
        jetstream.publish("in.a", message.into()).await.expect("sent").await.expect("stored");
    }
    let stream = jetstream.get_stream("OUT").await.expect("the stream");
    tests::wait::until("all results have arrived", LIMIT, async || {
        let info = stream.get_info().await.ok()?;
        (info.state.messages == 20).then_some(())
    })
    .await;
    let mut numbers = Vec::new();
    for sequence in 1..=20 {
        let message = stream.get_raw_message(sequence).await.expect("a message");
        let body: Value = serde_json::from_slice(&message.payload).expect("valid JSON");
        numbers.push(body["number"].as_u64().expect("a number"));
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..20).collect::<Vec<_>>());
}
