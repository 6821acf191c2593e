//! `fl fn upload` and `fl fn update`.

use std::path::Path;

use anyhow::{Context as _, bail};
use reqwest::multipart::{Form, Part};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::readiness;
use crate::args::Upload;
use crate::bindings::{self, Bindings, UploadReport};
use crate::client::Client;

/// Whether a function is created or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is created, and must not exist.
    Create,
    /// It is replaced, and must exist.
    Update,
    /// It is created, or replaced if it exists.
    CreateOrUpdate,
}

/// Uploads what the command line names, and says what became of it.
pub async fn run(options: Upload, mode: Mode, client: &Client) -> anyhow::Result<()> {
    let Upload { function, file, tag, capacity, script, events, sinks, no_wait } = options;
    let (module, name) = function.parts()?;
    let bindings = Bindings::read(events.as_deref(), sinks.as_deref())?;
    let code = read_code(&file)?;
    let mut metadata = serde_json::Map::new();
    metadata.extend(tag.map(|tag| ("tag".to_owned(), json!(tag))));
    metadata.extend(capacity.map(|kb| ("capacity".to_owned(), json!(kb))));
    metadata.extend(script.map(|script| ("script".to_owned(), json!(script))));
    let upload = NewFunction { module, name, metadata, bindings, wait: !no_wait };
    let Uploaded { done, answer } = upload_function(client, &upload, code, mode).await?;
    println!("Successfully {done} function {module}/{name} 👌");
    for warning in readiness::warnings(&answer)? {
        eprintln!("warning: {warning}");
    }
    let UploadReport { lines, any_refused } = bindings::report_unless_connected(&answer)?;
    if !lines.is_empty() {
        eprintln!("warning: not all events and sinks are connected:");
    }
    for line in lines {
        eprintln!("  {line}");
    }
    if any_refused {
        bail!(
            "the function is there, but not all of its events and sinks; correct them, and use `fl fn update`"
        );
    }
    Ok(())
}

/// What is uploaded beside the code.
#[derive(Default)]
pub struct NewFunction<'a> {
    pub module: &'a str,
    pub name: &'a str,
    pub metadata: serde_json::Map<String, Value>,
    pub bindings: Bindings,
    pub wait: bool,
}

impl NewFunction<'_> {
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
    /// What was done: "uploaded" or "updated".
    done: &'static str,
    /// The mesh's answer as it came.
    answer: String,
}

/// Creates or updates the function.
pub async fn upload_function(
    client: &Client,
    upload: &NewFunction<'_>,
    code: Vec<u8>,
    mode: Mode,
) -> anyhow::Result<Uploaded> {
    let form = upload.form(code)?;
    let updates = match mode {
        Mode::Create => false,
        Mode::Update => true,
        Mode::CreateOrUpdate => exists(client, upload).await?,
    };
    let (done, request) = match updates {
        true => ("updated", client.request(Method::PUT, &["fn", upload.module, upload.name])?),
        false => ("uploaded", client.request(Method::POST, &["fn", upload.module])?),
    };
    Ok(Uploaded { done, answer: client.send(request.multipart(form)).await? })
}

async fn exists(client: &Client, upload: &NewFunction<'_>) -> anyhow::Result<bool> {
    let response = client.request(Method::GET, &["fn", upload.module, upload.name])?.send().await;
    Ok(response.is_ok_and(|response| response.status() == StatusCode::OK))
}

fn read_code(file: &Path) -> anyhow::Result<Vec<u8>> {
    let code = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    if !code.starts_with(b"\0asm") {
        bail!(
            "{} is not a WebAssembly binary; compile the function for wasm32-unknown-unknown first",
            file.display()
        );
    }
    Ok(code)
}
