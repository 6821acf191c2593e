//! Dead letters: a redrive that succeeds, and a purge.

use std::time::Duration;

use serde_json::json;
use tests::client::Upload;
use tests::receiver::Receiver;
use tests::{Client, Mesh, guests, wait};

use crate::site::signed_in;

const LIMIT: Duration = Duration::from_secs(30);

pub async fn are_redriven_and_purged(mesh: &Mesh) {
    let (admin, receiver) = (mesh.admin(), Receiver::start().await);
    // The webhook refuses for good, so each result becomes a dead letter.
    receiver.answer_with(400);
    let sinks = json!([{ "type": "webhook", "params": { "url": receiver.url(), "max_attempts": 1 } }]);
    admin.create_module("posting").await;
    let upload = Upload::function("poster", &guests::hello()).text("sinks", sinks.to_string());
    admin.post_form("/v1/fn/posting", upload).await;
    for name in ["Ann", "Bea", "Cyd"] {
        admin.result("posting", "poster", json!({ "name": name })).await;
    }
    letters(&admin, 3).await;

    let browser = signed_in(mesh, &admin).await;
    browser.reads("#live", "to be redriven or purged").await;
    browser.open("/console/dead-letters?module=posting").await;
    browser.click("tbody th a").await;
    browser.reads("pre", "Hello Ann!").await;
    receiver.answer_with(200);
    browser.click("form[action$='/redrive'] button").await;
    browser.reads("h1", "Dead letters").await;
    assert_eq!(receiver.taken(1, LIMIT).await[0].body, json!({ "payload": "Hello Ann!" }));
    letters(&admin, 2).await;

    browser.open("/console/dead-letters?module=posting&action=purge").await;
    browser.reads("main h2", "Purge 2 dead letters?").await;
    browser.click("form[action='/console/dead-letters/purge'] button").await;
    browser.reads(".message", "Purged: 2 dead letters").await;
    letters(&admin, 0).await;
    browser.open("/console/bindings").await;
    browser.reads("main", "they add up").await;
    browser.quit().await;
}

async fn letters(client: &Client, count: usize) {
    let what = format!("there are {count} dead letters");
    wait::until(&what, LIMIT, async || {
        let page = client.get("/v1/dead-letters?module=posting").await.expect(200).json();
        (page["data"].as_array()?.len() == count).then_some(())
    })
    .await;
}
