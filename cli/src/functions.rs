//! `fl fn`.

mod logs;
mod readiness;
mod waterfall;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, anyhow, bail};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::multipart::{Form, Part};
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::args::{Functions, Invoke};
use crate::bindings::{self, Bindings, UploadReport};
use crate::client::{Client, data};
use waterfall::Waterfall;

/// Runs one of the commands.
pub async fn run(command: Functions, client: &Client) -> anyhow::Result<()> {
    match command {
        Functions::Upload { function, file, update, tag, capacity, script, events, sinks, no_wait } => {
            let (module, name) = function.parts();
            let bindings = Bindings::read(events.as_deref(), sinks.as_deref())?;
            let code = read_code(&file)?;
            let mut metadata = serde_json::Map::new();
            metadata.extend(tag.map(|tag| ("tag".to_owned(), json!(tag))));
            metadata.extend(capacity.map(|kb| ("capacity".to_owned(), json!(kb))));
            metadata.extend(script.map(|script| ("script".to_owned(), json!(script))));
            let upload = Upload { module, name, metadata, bindings, wait: !no_wait };
            let Uploaded { done, answer } = upload_function(client, &upload, code, update).await?;
            println!("{done} {module}/{name}");
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
                    "the function is there, but not all of its events and sinks; correct them, and use --update"
                );
            }
        }
        Functions::Invoke(invoke) => {
            let (shows_decision, shows_trace) = (invoke.decision, invoke.trace);
            let asked = Instant::now();
            let Invoked { decision, headers, result } =
                invoke_function(client, &Invocation::from(invoke)).await?;
            if let (true, Some(id)) = (shows_decision, decision) {
                eprintln!("decision {id}");
            }
            if shows_trace {
                eprint!("{}", Waterfall::of(&headers, asked.elapsed()));
            }
            println!("{}", result?);
        }
        Functions::Logs(options) => logs::run(options, client).await?,
        Functions::Delete { function } => {
            let (module, name) = function.parts();
            client.send(client.request(Method::DELETE, &["fn", module, name])?).await?;
            println!("deleted {module}/{name}");
        }
    }
    Ok(())
}

/// What is uploaded beside the code.
#[derive(Default)]
pub struct Upload<'a> {
    pub module: &'a str,
    pub name: &'a str,
    pub metadata: serde_json::Map<String, Value>,
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

/// What is invoked, and how.
#[derive(Default)]
pub struct Invocation {
    pub module: String,
    pub name: String,
    /// The function's input, JSON text.
    pub args: String,
    pub policy: Policy,
}

/// Who chooses the worker.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// The function's own script, and if it has none the default policy.
    #[default]
    Own,
    /// The script of this name.
    Script(String),
    Default,
}

/// How an invocation ended.
pub struct Invoked {
    /// The decision that it was placed by, if one was made.
    pub decision: Option<String>,
    /// The headers of the answer, in which the receipt is.
    pub headers: HeaderMap,
    /// The function's result, the JSON text as it wrote it.
    pub result: anyhow::Result<String>,
}

impl From<Invoke> for Invocation {
    fn from(invoke: Invoke) -> Self {
        let policy = match (invoke.script, invoke.no_script) {
            (Some(script), _) => Policy::Script(script),
            (None, true) => Policy::Default,
            (None, false) => Policy::Own,
        };
        let (module, name) = invoke.function.parts();
        Self { module: module.to_owned(), name: name.to_owned(), args: invoke.args, policy }
    }
}

impl Invocation {
    fn body(&self) -> anyhow::Result<String> {
        /// The arguments are sent as they were given.
        #[derive(Serialize)]
        struct Body<'a> {
            args: &'a RawValue,
            scheduling: Option<Value>,
        }
        let args = serde_json::from_str(&self.args);
        let args = args.with_context(|| format!("--args {}: expected JSON", self.args))?;
        let scheduling = match &self.policy {
            Policy::Own => None,
            Policy::Script(script) => Some(json!({"language": "app", "script": script})),
            Policy::Default => Some(json!({"language": "none"})),
        };
        Ok(serde_json::to_string(&Body { args, scheduling })?)
    }
}

/// Invokes the function once.
pub async fn invoke_function(client: &Client, invocation: &Invocation) -> anyhow::Result<Invoked> {
    let Invocation { module, name, .. } = invocation;
    let request = client.request(Method::POST, &["fn", module, name])?;
    let request = request.header(CONTENT_TYPE, "application/json").body(invocation.body()?);
    let answer = client.ask(request).await?;
    let (decision, headers) = (answer.decision(), answer.headers.clone());
    let was_refused = answer.status == StatusCode::SERVICE_UNAVAILABLE && answer.may_be_repeated();
    let result = answer.success().and_then(|body| Ok(data::<&RawValue>(&body)?.get().to_owned()));
    let result = result.map_err(|error| match &decision {
        // Nothing has run: it is the decision that wants an explanation.
        Some(id) if was_refused => {
            anyhow!("{error}; to see why: fl script explain --decision {id}")
        }
        _ => error,
    });
    Ok(Invoked { decision, headers, result })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_sent_as_they_were_given() {
        let body = |args: &str, policy| Invocation { args: args.into(), policy, ..Default::default() }.body();
        let long = r#"{ "b":12345678901234567890123, "a":1.0 }"#;
        let cases = [
            (Policy::Own, "null"),
            (Policy::Default, r#"{"language":"none"}"#),
            (Policy::Script("s".into()), r#"{"language":"app","script":"s"}"#),
        ];
        for (policy, scheduling) in cases {
            let expected = format!(r#"{{"args":{long},"scheduling":{scheduling}}}"#);
            assert_eq!(body(long, policy).expect("JSON"), expected);
        }
        let error = body("{", Policy::Own).expect_err("no JSON");
        assert_eq!(error.to_string(), "--args {: expected JSON");
    }
}
