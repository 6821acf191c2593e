//! Events while parts of the mesh are paused.

use std::time::Duration;

use serde_json::json;
use tests::chaos::settled;
use tests::client::Upload;
use tests::process::Paused;
use tests::publisher::Publisher;
use tests::servers::{Couch, Mosquitto};
use tests::{Mesh, Shape, guests};

const TOPIC: &str = "paused";
const MESSAGES: u32 = 400;
const PER_SECOND: u32 = 50;
/// Long enough for its callers to give it up.
const PAUSE: Duration = Duration::from_secs(3);
const LIMIT: Duration = Duration::from_secs(60);

/// A worker and then the scheduler are paused: each message becomes exactly one document. A function may run twice for
/// a message, but the result has the same identity.
pub async fn events_survive_pauses(shape: Shape) {
    let mesh = Mesh::start(shape).await;
    let (broker, store) = tokio::join!(Mosquitto::start(), Couch::start());
    let url = store.create_database("results").await;
    let user = mesh.user();
    let params = json!({ "host": "127.0.0.1", "port": broker.port(), "topic": TOPIC });
    let upload = Upload::function("f", &guests::echo())
        .text("events", json!([{ "type": "mqtt", "params": params }]).to_string())
        .text("sinks", json!([{ "type": "couchdb", "params": { "url": url } }]).to_string());
    user.post_form("/v1/fn/_", upload).await.expect(201);

    let publisher = Publisher::new(broker.port(), TOPIC);
    let pausing = async {
        for service in ["worker", "scheduler"] {
            let pause = Paused::begin(mesh.pid_of(service).await).await;
            tokio::time::sleep(PAUSE).await;
            drop(pause);
        }
    };
    tokio::join!(publisher.publish(0..MESSAGES, PER_SECOND), pausing);
    let documents = store.documents("results", MESSAGES.into(), LIMIT).await;
    let mut ids: Vec<_> = documents.iter().map(|document| document["id"].as_u64().expect("an id")).collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..MESSAGES).map(u64::from).collect::<Vec<_>>(), "each message is one document");
    let sums = settled(&user).await;
    assert_eq!((&sums["events"]["dead_letters"], &sums["sinks"]["dead"]), (&json!(0), &json!(0)), "{sums}");
}
