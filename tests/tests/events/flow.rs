//! The flow from a message to a document.

use std::time::Duration;

use serde_json::{Value, json};
use tests::client::Upload;
use tests::servers::{Couch, Mosquitto};
use tests::{Client, Mesh, Shape, guests, wait};

const LIMIT: Duration = Duration::from_secs(20);

const USER: &str = "ann";
const PASSWORD: &str = "hunter2";

/// A function with bindings like those of FunLess: the port is a string, and the store requires a user.
fn bound(name: &str, code: &[u8], broker: &Mosquitto, database: &str) -> Upload {
    let events = json!([{ "type": "mqtt", "params": {
        "host": "127.0.0.1", "port": broker.port().to_string(), "topic": format!("in/{name}")
    } }]);
    let sinks = json!([{ "type": "couchdb", "params": {
        "url": database, "username": USER, "password": PASSWORD
    } }]);
    Upload::function(name, code).text("events", events.to_string()).text("sinks", sinks.to_string())
}

pub async fn bindings_of_funless_work_unchanged(shape: Shape) {
    let mut mesh = Mesh::start(shape).await;
    let (broker, store) = tokio::join!(Mosquitto::start(), Couch::start());
    let store = store.protected(USER, PASSWORD).await;
    let database = store.create_database("results").await;
    let answer =
        mesh.user().post_form("/v1/fn/_", bound("hello", &guests::hello(), &broker, &database)).await;
    let data = answer.expect(201).json()["data"].take();
    assert_eq!(data["events"], json!([{ "status": "success" }]));
    assert_eq!(data["sinks_metadata"], json!({ "successful": 1, "failed": 0, "total": 1 }));

    broker.publish("in/hello", r#"{"name":"Ann"}"#);
    let documents = store.documents("results", 1, LIMIT).await;
    assert_eq!(documents[0]["payload"], "Hello Ann!");

    // The results of direct invocations go to the sinks, too.
    let result = mesh.user().result("_", "hello", json!({ "name": "Bob" })).await;
    assert_eq!(result, json!({ "payload": "Hello Bob!" }));
    store.documents("results", 2, LIMIT).await;

    let function = counted(&mesh.user(), "hello", 2).await;
    let (event, sink) = (&function["events"][0], &function["sinks"][0]);
    assert_eq!((&event["state"], &sink["state"]), (&json!("connected"), &json!("connected")), "{function}");
    assert!(event["last_event_at"].is_string() && sink["last_delivery_at"].is_string(), "{function}");
    assert_eq!(event["counts"]["received"], 1, "{function}");
    assert!(!function.to_string().contains(PASSWORD));

    mesh.restart().await;
    broker.publish("in/hello", r#"{"name":"again"}"#);
    store.documents("results", 3, LIMIT).await;
    assert_eq!(counted(&mesh.user(), "hello", 3).await["events"][0]["counts"]["received"], 2);
}

/// Waits until this many results have been delivered and returns the function.
async fn counted(user: &Client, name: &str, delivered: u64) -> Value {
    wait::until("the deliveries are counted", LIMIT, async || {
        let function = user.get(&format!("/v1/fn/_/{name}")).await.expect(200).json()["data"].take();
        (function["sinks"][0]["counts"]["delivered"] == delivered).then_some(function)
    })
    .await
}

pub async fn unavailable_brokers_and_stores_are_retried(shape: Shape) {
    let mesh = Mesh::start(shape).await;
    let (mut broker, store) = tokio::join!(Mosquitto::start(), Couch::start_durable());
    let mut store = store.protected(USER, PASSWORD).await;
    let database = store.create_database("results").await;
    tokio::join!(broker.die(), store.die());
    let user = mesh.user();
    let answer = user.post_form("/v1/fn/_", bound("late", &guests::echo(), &broker, &database)).await;
    let data = answer.expect(207).json()["data"].take();
    assert_eq!(data["events_metadata"]["failed"], 1);
    assert_eq!(data["sinks"][0]["status"], "error");
    let state = user.get("/v1/fn/_/late").await.expect(200).json();
    assert_eq!(state["data"]["events"][0]["state"], "retrying", "{state}");
    assert!(state["data"]["events"][0]["message"].is_string(), "{state}");

    tokio::join!(broker.start_again(), store.start_again());
    wait::until("both are connected", LIMIT, async || {
        let function = user.get("/v1/fn/_/late").await.expect(200).json()["data"].take();
        (function["events"][0]["state"] == "connected" && function["sinks"][0]["state"] == "connected")
            .then_some(())
    })
    .await;
    broker.publish("in/late", r#"{"a":1}"#);
    assert_eq!(store.documents("results", 1, LIMIT).await[0]["a"], 1);
}

pub async fn bindings_are_added_changed_and_removed(shape: Shape) {
    let mesh = Mesh::start(shape).await;
    let (broker, store) = tokio::join!(Mosquitto::start(), Couch::start());
    let database = store.create_database("results").await;
    let user = mesh.user();
    user.create_function("_", "f", &guests::echo()).await;
    let bind = |topic: &str| {
        let params = json!({ "host": "127.0.0.1", "port": broker.port(), "topic": topic });
        let events = json!([{ "type": "mqtt", "params": params }]).to_string();
        let sinks = json!([{ "type": "couchdb", "params": { "url": database } }]).to_string();
        Upload::default().text("events", events).text("sinks", sinks)
    };
    let id = async || user.get("/v1/fn/_/f").await.expect(200).json()["data"]["events"][0]["id"].clone();
    user.put_form("/v1/fn/_/f", bind("one")).await.expect(200);
    let first = id().await;
    broker.publish("one", "1");
    store.documents("results", 1, LIMIT).await;

    // An unchanged binding keeps its id and its session at the broker.
    user.put_form("/v1/fn/_/f", bind("one")).await.expect(200);
    assert_eq!(id().await, first);
    user.put_form("/v1/fn/_/f", bind("two")).await.expect(200);
    assert_ne!(id().await, first);
    broker.publish("one", "2");
    broker.publish("two", "3");
    let documents = store.documents("results", 2, LIMIT).await;
    assert!(
        documents.iter().all(|document| document["result"] != 2),
        "the old topic is no longer subscribed: {documents:?}"
    );

    // A redacted secret is refused.
    let hidden =
        json!([{ "type": "couchdb", "params": { "url": database, "username": "u", "password": "***" } }]);
    let refused = user.put_form("/v1/fn/_/f", Upload::default().text("sinks", hidden.to_string())).await;
    assert!(refused.expect(207).text.contains("***"));

    // The response reports the state of the new sink, not of its former connection.
    for (url, status) in [("http://127.0.0.1:1/results", 207), (&*database, 200)] {
        let sinks = json!([{ "type": "couchdb", "params": { "url": url } }]).to_string();
        user.put_form("/v1/fn/_/f", Upload::default().text("sinks", sinks)).await.expect(status);
    }

    // A renamed function receives messages, too.
    user.put_form("/v1/fn/_/f", bind("two").text("name", "g")).await.expect(200);
    broker.publish("two", "4");
    store.documents("results", 3, LIMIT).await;
    user.put_form("/v1/fn/_/g", Upload::default().text("events", "[]").text("sinks", "[]")).await.expect(200);
    assert!(user.get("/v1/events").await.expect(200).json()["data"].as_array().is_some_and(Vec::is_empty));
}

pub async fn secrets_are_not_on_the_disk(shape: Shape) {
    let mesh = Mesh::start(shape).await;
    let (broker, store) = tokio::join!(Mosquitto::start(), Couch::start());
    let store = store.protected(USER, PASSWORD).await;
    let database = store.create_database("results").await;
    let upload = bound("hello", &guests::hello(), &broker, &database);
    mesh.user().post_form("/v1/fn/_", upload).await.expect(201);
    broker.publish("in/hello", r#"{"name":"Ann"}"#);
    store.documents("results", 1, LIMIT).await;
    let mut read = 0;
    for entry in std::fs::read_dir(mesh.data_dir()).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            let bytes = std::fs::read(&path).expect("a file");
            assert!(
                !bytes.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes()),
                "the password is in {}",
                path.display()
            );
            read += 1;
        }
    }
    assert!(read >= 4, "the databases, the key and the tokens are files");
    assert!(!mesh.log().contains(PASSWORD));
}

/// The only process is killed while messages are in flight.
pub async fn a_mesh_that_dies_loses_nothing(shape: Shape) {
    const MESSAGES: u64 = 300;
    let mut mesh = Mesh::start(shape).await;
    let (broker, store) = tokio::join!(Mosquitto::start(), Couch::start());
    let store = store.protected(USER, PASSWORD).await;
    let database = store.create_database("results").await;
    let upload = bound("echo", &guests::echo(), &broker, &database);
    mesh.user().post_form("/v1/fn/_", upload).await.expect(201);
    let publisher = tests::publisher::Publisher::new(broker.port(), "in/echo");
    for third in 0..3 {
        let first = third * 100;
        publisher.publish(first..first + 100, 1000).await;
        mesh.die_and_start_again().await;
    }
    let documents = store.documents("results", MESSAGES, Duration::from_secs(60)).await;
    let mut ids: Vec<_> = documents.iter().map(|document| document["id"].as_u64().expect("an id")).collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..MESSAGES).collect::<Vec<_>>());
    let sums = tests::chaos::settled(&mesh.user()).await;
    assert_eq!(sums["sinks"]["delivered"], MESSAGES, "{sums}");
}
