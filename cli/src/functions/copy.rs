//! `fl fn copy`.

use reqwest::Method;
use serde_json::json;

use crate::args::FunctionPath;
use crate::client::Client;
use crate::names;

/// Copies a function inside the mesh: its code does not pass through here.
pub async fn run(from: &FunctionPath, to: &FunctionPath, client: &Client) -> anyhow::Result<()> {
    let request = client.request(Method::POST, &["fn", &from.module, &from.name, "copy"])?;
    let request = request.json(&json!({ "function": { "module": to.module, "name": to.name } }));
    match client.send(request).await {
        Ok(_) => {
            println!("Successfully copied function {from} to {to}.");
            Ok(())
        }
        // It may be the module of the copy that does not exist.
        Err(error) => Err(names::suggest(error, client, &to.module, None).await),
    }
}
