//! `fl fn upload` and `fl fn update`.

use anyhow::bail;
use reqwest::multipart::Form;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::progress::Progress;
use super::readiness;
use crate::args::{Upload, UploadOptions};
use crate::bindings::{self, Bindings, UploadReport};
use crate::client::Client;
use crate::output::{note, warn};
use crate::project::read_wasm;

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
    let Upload { function, file, options } = options;
    let UploadOptions { tag, capacity, script, events, sinks, no_wait, quiet } = options;
    let (module, name) = function.parts()?;
    let bindings = Bindings::read(events.as_deref(), sinks.as_deref())?;
    let code = read_wasm(&file)?;
    let mut metadata = serde_json::Map::new();
    metadata.extend(tag.map(|tag| ("tag".to_owned(), json!(tag))));
    metadata.extend(capacity.map(|kb| ("capacity".to_owned(), json!(kb))));
    metadata.extend(script.map(|script| ("script".to_owned(), json!(script))));
    let upload = NewFunction { module, name, metadata, bindings, wait: !no_wait, is_quiet: quiet.quiet };
    let uploaded = upload_function(client, &upload, code, mode).await?;
    quiet.done(&format!("Successfully {} function {module}/{name} 👌", uploaded.done))?;
    uploaded.report()
}

/// What is uploaded beside the code.
#[derive(Default)]
pub struct NewFunction<'a> {
    pub module: &'a str,
    pub name: &'a str,
    pub metadata: serde_json::Map<String, Value>,
    pub bindings: Bindings,
    pub wait: bool,
    /// Show no progress.
    pub is_quiet: bool,
}

impl NewFunction<'_> {
    fn form(&self, code: Vec<u8>, progress: &Progress) -> anyhow::Result<Form> {
        let code = progress.part(code).file_name("code.wasm").mime_str("application/wasm")?;
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

impl Uploaded {
    /// The warnings about workers that cannot run the function. Fails when none can.
    pub fn warnings(&self) -> anyhow::Result<Vec<String>> {
        readiness::warnings(&self.answer)
    }

    /// Says what is wrong with the workers, events and sinks of the function. Fails if it is not as it should be.
    pub fn report(&self) -> anyhow::Result<()> {
        for warning in self.warnings()? {
            warn(&warning);
        }
        let UploadReport { lines, any_refused } = bindings::report_unless_connected(&self.answer)?;
        if !lines.is_empty() {
            warn("not all events and sinks are connected:");
        }
        for line in lines {
            note(&format!("  {line}"));
        }
        if any_refused {
            bail!(
                "the function is there, but not all of its events and sinks; correct them, and use `fl fn update`"
            );
        }
        Ok(())
    }
}

/// Creates or updates the function.
pub async fn upload_function(
    client: &Client,
    upload: &NewFunction<'_>,
    code: Vec<u8>,
    mode: Mode,
) -> anyhow::Result<Uploaded> {
    let full_name = format!("{}/{}", upload.module, upload.name);
    let progress = Progress::of(&full_name, code.len(), upload.is_quiet);
    let form = upload.form(code, &progress)?;
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
