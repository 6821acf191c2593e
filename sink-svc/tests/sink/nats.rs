//! Results as messages of a NATS stream.

use futures::StreamExt as _;
use mesh::testing::eventually;
use mesh::testing::nats::HostileNats;
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

#[tokio::test]
async fn users_are_shown_to_the_server() {
    let (world, database) = (World::new(), Database::sqlite());
    let named_server = Nats::start_with(&["--user", "u", "--pass", "p@ss"]).await;
    let token_server = Nats::start_with(&["--auth", "a token"]).await;
    let (named, token) = (named_server.url(), token_server.url());
    let in_url = |url: &str, user: &str| url.replace("nats://", &format!("nats://{user}@"));
    let (known, refused) = ("no stream takes the subject s", "authorization violation");
    let cases = [
        ("a", named.clone(), r#","username":"u","password":"p@ss""#, known),
        ("b", named.clone(), r#","username":"u","password":"p""#, refused),
        ("c", in_url(&named, "u:p%40ss"), "", known),
        ("d", named.clone(), "", refused),
        ("e", token.clone(), r#","token":"a token""#, known),
        ("f", in_url(&token, "a%20token"), "", known),
        ("g", in_url(&token, "another"), "", refused),
    ];
    for (id, url, more, _) in &cases {
        world.registry.put(id, "nats", &format!(r#"{{"url":"{url}","subject":"s"{more}}}"#));
    }
    let sink = world.start(&database).await;
    for (id, _, _, expected) in cases {
        let message = sink.eventually_is(id, BindingState::Retrying).await;
        assert!(message.ends_with(expected), "{id}: {message}");
    }
}

#[tokio::test]
async fn a_hostile_server_is_read_up_to_a_limit() {
    let (world, database, mut servers) = (World::new(), Database::sqlite(), Vec::new());
    for (start, more, expected) in [
        ("INFO {\"a\":\"", "a", "the server sent a control line of more than 65536 bytes"),
        (
            "INFO {\"max_payload\":999}\r\nPONG\r\nMSG a 0 314572800\r\n",
            "a",
            "the server sent a reply of 314572800 bytes",
        ),
        (
            "INFO {\"max_payload\":999}\r\nPONG\r\n",
            "-ERR\r\n",
            "the server sent a line that is not NATS: \"-ERR\"",
        ),
    ] {
        let (server, id) = (HostileNats::start(start, more).await, servers.len().to_string());
        let params = format!(r#"{{"url":"nats://127.0.0.1:{}","subject":"s"}}"#, server.port);
        world.registry.put(&id, "nats", &params);
        servers.push((id, server, expected));
    }
    let sink = world.start(&database).await;
    for (id, server, expected) in servers {
        sink.take(&id, "i", "1").await;
        let message = sink.eventually_is(&id, BindingState::Retrying).await;
        assert!(message.contains(expected), "{message}");
        server.assert_few_read();
    }
}
