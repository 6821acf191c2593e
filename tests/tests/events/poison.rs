//! Messages that cannot be handled.

use std::time::Duration;

use serde_json::{Value, json};
use tests::client::Upload;
use tests::servers::{Couch, Mosquitto};
use tests::{Client, Mesh, Shape, guests, wait};

const LIMIT: Duration = Duration::from_secs(20);

pub async fn a_poison_message_blocks_no_other_and_can_be_redriven(shape: Shape) {
    let mesh = Mesh::start(shape).await;
    let (broker, store) = tokio::join!(Mosquitto::start(), Couch::start());
    let database = store.create_database("results").await;
    let user = mesh.user();
    let events = json!([{ "type": "mqtt", "params": {
        "host": "127.0.0.1", "port": broker.port(), "topic": "in", "max_in_flight": 1
    } }]);
    let sinks = json!([{ "type": "couchdb", "params": { "url": database } }]);
    let upload = Upload::function("f", &guests::hello())
        .text("events", events.to_string())
        .text("sinks", sinks.to_string());
    user.post_form("/v1/fn/_", upload).await.expect(201);

    // `hello` needs a name. Messages that are not valid JSON never reach it.
    for message in
        [r#"{"poison":1}"#, r#"{"name":"Ann"}"#, "nonsense", r#"{"poison":2}"#, r#"{"name":"Bob"}"#]
    {
        broker.publish("in", message);
    }
    store.documents("results", 2, LIMIT).await;
    let letters = letters(&user, 3).await;
    let (invalid, letters): (Vec<_>, Vec<_>) =
        letters.into_iter().partition(|letter| letter["invalid"] == json!(true));
    for (letter, poison) in letters.iter().zip([1, 2]) {
        assert_eq!((&letter["module"], &letter["function"]), (&json!("_"), &json!("f")), "{letter}");
        assert_eq!(letter["role"], "event", "{letter}");
        assert!(!letter["reason"].as_str().expect("a reason").is_empty(), "{letter}");
        let path = format!("/v1/dead-letters/{}", letter["id"].as_str().expect("an id"));
        let whole = user.get(&path).await.expect(200).json();
        assert_eq!(whole["data"]["payload"], json!({ "poison": poison }));
    }
    let sums = tests::chaos::settled(&user).await["events"].take();
    assert_eq!((&sums["received"], &sums["invalid"]), (&json!(5), &json!(1)), "{sums}");
    assert_eq!((&sums["acknowledged"], &sums["dead_letters"]), (&json!(5), &json!(3)), "{sums}");

    let invalid = format!("/v1/dead-letters/{}", invalid[0]["id"].as_str().expect("an id"));
    let whole = user.get(&invalid).await.expect(200).json();
    assert_eq!(whole["data"]["payload_base64"], "bm9uc2Vuc2U=");
    let refused = user.post(&format!("{invalid}/redrive"), &json!({})).await.expect(422);
    assert!(refused.detail().contains("the payload is not valid JSON"), "{}", refused.text);
    user.delete(&invalid).await.expect(204);

    // The function still fails, so a redrive fails, too.
    let first = format!("/v1/dead-letters/{}/redrive", letters[0]["id"].as_str().expect("an id"));
    let still = user.post(&first, &json!({})).await;
    assert!(still.status >= 400, "the redrive fails: {} {}", still.status, still.text);
    user.update_function("_", "f", &guests::echo()).await;
    user.post(&first, &json!({})).await.expect(200);
    let rest = user.post("/v1/dead-letters/redrive", &json!({ "module": "_", "function": "f" })).await;
    assert_eq!(rest.expect(200).json()["data"]["redriven"], 1);
    let documents = store.documents("results", 4, LIMIT).await;
    for poison in [1, 2] {
        assert!(documents.iter().any(|document| document["poison"] == poison), "{documents:?}");
    }
    let sums = tests::chaos::settled(&user).await["events"].take();
    assert_eq!((&sums["dead_letters"], &sums["redriven"]), (&json!(0), &json!(2)), "{sums}");
}

async fn letters(user: &Client, count: usize) -> Vec<Value> {
    wait::until("the dead letters exist", LIMIT, async || {
        let list = user.get("/v1/dead-letters").await.expect(200).json()["data"].take();
        let list = list.as_array().expect("a list").clone();
        (list.len() == count).then_some(list)
    })
    .await
}
