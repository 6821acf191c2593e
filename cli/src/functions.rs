//! `fl fn`.

use std::path::Path;

use anyhow::{Context as _, bail};
use reqwest::multipart::{Form, Part};
use reqwest::{Method, StatusCode};
use serde_json::json;
use serde_json::value::RawValue;

use crate::args::Functions;
use crate::bindings::{self, Bindings, Told};
use crate::client::{Client, data};

/// Runs one of the commands.
pub async fn run(command: Functions, client: &Client) -> anyhow::Result<()> {
    match command {
        Functions::Upload { name, file, module, update, tag, capacity, events, sinks, no_wait } => {
            let bindings = Bindings::read(events.as_deref(), sinks.as_deref())?;
            let code = read_code(&file)?;
            let mut metadata = serde_json::Map::new();
            metadata.extend(tag.map(|tag| ("tag".to_owned(), json!(tag))));
            metadata.extend(capacity.map(|kb| ("capacity".to_owned(), json!(kb))));
            let upload = Upload { module: &module.module, name: &name, metadata, bindings, wait: !no_wait };
            let Uploaded { done, answer } = upload_function(client, &upload, code, update).await?;
            println!("{done} {}/{name}", module.module);
            let Told { lines, any_refused } = bindings::told_unless_connected(&answer)?;
            if !lines.is_empty() {
                eprintln!("warning: not all events and sinks are connected:");
            }
            for line in lines {
                eprintln!("  {line}");
            }
            if any_refused {
                bail!(
                    "the function is there, but not all of its events and sinks; correct them, and use --update"
                );
            }
        }
        Functions::Invoke { name, module, args } => {
            println!("{}", invoke_function(client, &module.module, &name, &args).await?);
        }
        Functions::Delete { name, module } => {
            client.send(client.request(Method::DELETE, &["fn", &module.module, &name])?).await?;
            println!("deleted {}/{name}", module.module);
        }
    }
    Ok(())
}

/// What is uploaded beside the code.
#[derive(Default)]
pub struct Upload<'a> {
    pub module: &'a str,
    pub name: &'a str,
    pub metadata: serde_json::Map<String, serde_json::Value>,
    pub bindings: Bindings,
    pub wait: bool,
}

impl Upload<'_> {
    fn form(&self, code: Vec<u8>) -> anyhow::Result<Form> {
        let code = Part::bytes(code).file_name("code.wasm").mime_str("application/wasm")?;
        let mut form = Form::new().text("name", self.name.to_owned()).part("code", code);
        if !self.metadata.is_empty() {
            form = form.text("metadata", serde_json::to_string(&self.metadata)?);
        }
        Ok(self.bindings.add_to(form.text("wait_for_workers", self.wait.to_string())))
    }
}

/// A function that was uploaded.
pub struct Uploaded {
    /// What was done: "created" or "updated".
    done: &'static str,
    /// The mesh's answer as it came.
    answer: String,
}

/// Creates the function, or updates it when it exists and `update` says so.
pub async fn upload_function(
    client: &Client,
    upload: &Upload<'_>,
    code: Vec<u8>,
    update: bool,
) -> anyhow::Result<Uploaded> {
    let form = upload.form(code)?;
    let (done, request) = match update && exists(client, upload).await? {
        true => ("updated", client.request(Method::PUT, &["fn", upload.module, upload.name])?),
        false => ("created", client.request(Method::POST, &["fn", upload.module])?),
    };
    Ok(Uploaded { done, answer: client.send(request.multipart(form)).await? })
}

async fn exists(client: &Client, upload: &Upload<'_>) -> anyhow::Result<bool> {
    let response = client.request(Method::GET, &["fn", upload.module, upload.name])?.send().await;
    Ok(response.is_ok_and(|response| response.status() == StatusCode::OK))
}

/// Invokes the function and gives its result, the JSON text as the function wrote it.
pub async fn invoke_function(
    client: &Client,
    module: &str,
    name: &str,
    args: &str,
) -> anyhow::Result<String> {
    let args: &RawValue =
        serde_json::from_str(args).with_context(|| format!("--args {args}: expected JSON"))?;
    let request = client.request(Method::POST, &["fn", module, name])?;
    let body = client.send(request.json(&json!({ "args": args }))).await?;
    Ok(data::<&RawValue>(&body)?.get().to_owned())
}

fn read_code(file: &Path) -> anyhow::Result<Vec<u8>> {
    let code = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    if !code.starts_with(b"\0asm") {
        bail!(
            "{} is no WebAssembly binary; compile the function for wasm32-unknown-unknown first",
            file.display()
        );
    }
    Ok(code)
}
