//! The console of a mesh.

use std::path::PathBuf;

use serde_json::Value;
use tests::browser::Browser;
use tests::process::repository;
use tests::{Client, Mesh};

/// A browser that has signed in as the user of `client`, with a one-time link.
pub async fn signed_in(mesh: &Mesh, client: &Client) -> Browser {
    let browser = Browser::start(&mesh.rest_url()).await;
    browser.open(&link(client).await).await;
    assert_eq!(browser.path().await, "/console");
    browser
}

/// A link that signs in once, as `fl console` makes it.
pub async fn link(client: &Client) -> String {
    let answer = client.post("/console/links", &Value::Null).await.expect(200).json();
    answer["data"]["path"].as_str().expect("a path").to_owned()
}

/// A function, as a file to upload.
pub fn hello() -> PathBuf {
    repository().join("target/guests/hello.wasm")
}

/// The path of a function's page.
pub fn page_of(module: &str, function: &str) -> String {
    format!("/console/functions/{module}/{function}")
}
