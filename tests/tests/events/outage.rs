//! Outages of stores.

use std::time::Duration;

use serde_json::json;
use tests::chaos::settled;
use tests::client::Upload;
use tests::receiver::Receiver;
use tests::servers::Couch;
use tests::{Mesh, Shape, guests};

const LIMIT: Duration = Duration::from_secs(60);
const RESULTS: usize = 300;

/// One store is down and one refuses all requests. Invocations continue; when the stores have recovered, both
/// get every result once, and in order if configured.
pub async fn an_unavailable_store_delays_no_others_and_loses_nothing(shape: Shape) {
    let mesh = Mesh::start(shape).await;
    let (receiver, mut store) = tokio::join!(Receiver::start(), Couch::start_durable());
    let database = store.create_database("results").await;
    let user = mesh.user();
    let sinks = json!([
        { "type": "webhook", "params": { "url": receiver.url(), "ordered": true } },
        { "type": "couchdb", "params": { "url": database } },
    ]);
    let upload = Upload::function("f", &guests::echo()).text("sinks", sinks.to_string());
    user.post_form("/v1/fn/_", upload).await.expect(201);
    user.result("_", "f", json!({ "number": 0 })).await;
    receiver.taken(1, LIMIT).await;

    receiver.answer_with(503);
    store.die().await;
    for number in 1..RESULTS {
        user.result("_", "f", json!({ "number": number })).await;
    }
    let waiting = user.get("/v1/conservation").await.expect(200).json();
    let pending = waiting["data"]["sinks"]["sum"]["pending"].as_u64().expect("a number");
    assert!(pending >= 2 * (RESULTS as u64 - 1) - 1, "{waiting}");

    receiver.answer_with(200);
    store.start_again().await;
    let posted = receiver.taken(RESULTS, LIMIT).await;
    let numbers: Vec<_> = posted.iter().map(|post| post.body["number"].as_u64().expect("a number")).collect();
    assert_eq!(numbers, (0..RESULTS as u64).collect::<Vec<_>>(), "each result is posted once and in order");
    store.documents("results", RESULTS as u64, LIMIT).await;
    let sums = settled(&user).await;
    assert_eq!(sums["sinks"]["delivered"], 2 * RESULTS, "{sums}");
    assert_eq!(sums["sinks"]["dead"], 0, "{sums}");
}
