//! Results as messages of a NATS stream.

use futures::StreamExt as _;
use mesh::testing::eventually;
use proto::binding::v1::BindingState;

use crate::support::servers::Nats;
use crate::support::{Database, World, assert_conserved, delivered};

#[tokio::test]
async fn results_become_messages_and_an_outage_loses_none() {
    let (world, database, mut nats) = (World::new(), Database::sqlite(), Nats::start().await);
    let params = format!(r#"{{"url":"{}","subject":"results.shop"}}"#, nats.url());
    world.registry.put("a", "nats", &params);
    let sink = world.start(&database).await;
    let message = sink.eventually_is("a", BindingState::Retrying).await;
    assert!(message.ends_with("no stream takes the subject results.shop"), "{message}");

    let stream = async_nats::jetstream::stream::Config {
        name: "results".into(),
        subjects: vec!["results.>".into()],
        ..Default::default()
    };
    let jetstream = nats.jetstream().await;
    jetstream.create_stream(stream).await.expect("created");
    sink.eventually_is("a", BindingState::Connected).await;
    for number in 0..20 {
        sink.take("a", &format!("i{number}"), &number.to_string()).await;
    }
    sink.eventually_counts("a", delivered(20)).await;
    nats.kill();
    for number in 10..40 {
        sink.take("a", &format!("i{number}"), &number.to_string()).await;
    }
    sink.eventually_is("a", BindingState::Retrying).await;
    nats.listen().await;
    sink.eventually_counts("a", delivered(40)).await;
    eventually("the stream exists", async || jetstream.get_stream("results").await.is_ok()).await;
    let mut stream = jetstream.get_stream("results").await.expect("the stream");
    assert_eq!(stream.info().await.expect("the stream's state").state.messages, 40);

    let consumer = async_nats::jetstream::consumer::pull::OrderedConfig::default();
    let consumer = stream.create_consumer(consumer).await.expect("created");
    let messages = consumer.messages().await.expect("messages").take(40);
    let mut messages: Vec<_> = messages
        .map(|message| {
            let message = message.expect("a message");
            let id = message.headers.as_ref().and_then(|headers| headers.get("Nats-Msg-Id"));
            let id = id.expect("an id").to_string();
            (id, String::from_utf8(message.payload.to_vec()).expect("text"))
        })
        .collect()
        .await;
    messages.sort_unstable();
    messages.dedup();
    assert_eq!(messages.len(), 40);
    assert!(messages.iter().all(|(id, payload)| *id == format!("i{payload}")));
    assert_conserved(&database).await;
}
