//! `fl fn invoke`.

use std::time::Instant;

use anyhow::{anyhow, bail, ensure};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::waterfall::Waterfall;
use crate::args::Invoke;
use crate::client::{Client, data};

/// Invokes what the command line names, and prints the result.
pub async fn run(invoke: Invoke, client: &Client) -> anyhow::Result<()> {
    let (shows_decision, shows_trace) = (invoke.decision, invoke.trace);
    let invocation = Invocation::read(invoke)?;
    let asked = Instant::now();
    let Invoked { decision, headers, result } = invoke_function(client, &invocation).await?;
    if let (true, Some(id)) = (shows_decision, decision) {
        eprintln!("decision {id}");
    }
    if shows_trace {
        eprint!("{}", Waterfall::of(&headers, asked.elapsed()));
    }
    println!("{}", compact(&result?));
    Ok(())
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

impl Invocation {
    fn read(invoke: Invoke) -> anyhow::Result<Self> {
        let policy = match (invoke.script, invoke.no_script) {
            (Some(script), _) => Policy::Script(script),
            (None, true) => Policy::Default,
            (None, false) => Policy::Own,
        };
        let (module, name) = invoke.function.parts()?;
        let args = arguments(invoke.json, invoke.args)?;
        Ok(Self { module: module.to_owned(), name: name.to_owned(), args, policy })
    }

    fn body(&self) -> anyhow::Result<String> {
        /// The arguments are sent as they were given.
        #[derive(Serialize)]
        struct Body<'a> {
            args: &'a RawValue,
            scheduling: Option<Value>,
        }
        let args = serde_json::from_str(&self.args)?;
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

/// The arguments that the command line gives, as JSON text.
fn arguments(json: Option<String>, args: Vec<String>) -> anyhow::Result<String> {
    let is_json = |text: &str| serde_json::from_str::<IgnoredAny>(text).is_ok();
    if let Some(json) = json {
        ensure!(is_json(&json), "--json {json}: expected JSON");
        return Ok(json);
    }
    let is_alone = args.len() == 1;
    let mut object = serde_json::Map::new();
    for arg in args {
        match arg.split_once('=') {
            _ if is_alone && is_json(&arg) => return Ok(arg),
            _ if is_json(&arg) => bail!("--args {arg}: expected KEY=VALUE, since --args is repeated"),
            None | Some(("", _)) => bail!("--args {arg}: expected KEY=VALUE or JSON"),
            Some((key, value)) => {
                let earlier = object.insert(key.to_owned(), value.into());
                ensure!(earlier.is_none(), "--args {arg}: the key {key} is given twice");
            }
        }
    }
    Ok(Value::Object(object).to_string())
}

/// JSON text without the white space between its tokens. Numbers and the order of keys stay as they are.
fn compact(json: &str) -> String {
    let (mut in_string, mut is_escaped) = (false, false);
    let keeps = |character: &char| {
        match character {
            '"' if !is_escaped => in_string = !in_string,
            ' ' | '\t' | '\n' | '\r' if !in_string => return false,
            _ => {}
        }
        is_escaped = *character == '\\' && !is_escaped;
        true
    };
    json.chars().filter(keeps).collect()
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
    }

    #[test]
    fn arguments_are_pairs_or_json() {
        let read = |json: Option<&str>, args: &[&str]| {
            let args: Vec<_> = args.iter().map(|&arg| arg.to_owned()).collect();
            arguments(json.map(str::to_owned), args).map_err(|error| error.to_string())
        };
        type Case = (Option<&'static str>, &'static [&'static str], Result<&'static str, &'static str>);
        let cases: [Case; 12] = [
            (None, &[], Ok("{}")),
            (Some("[1]"), &[], Ok("[1]")),
            (Some("a=1"), &[], Err("--json a=1: expected JSON")),
            (None, &[r#"{"a":1}"#], Ok(r#"{"a":1}"#)),
            (None, &["null"], Ok("null")),
            (None, &["name=Ada"], Ok(r#"{"name":"Ada"}"#)),
            (None, &["b=1", "a=x=y", "c="], Ok(r#"{"a":"x=y","b":"1","c":""}"#)),
            (None, &["{"], Err("--args {: expected KEY=VALUE or JSON")),
            (
                None,
                &[r#"{"a":1}"#, "b=1"],
                Err(r#"--args {"a":1}: expected KEY=VALUE, since --args is repeated"#),
            ),
            (None, &["name"], Err("--args name: expected KEY=VALUE or JSON")),
            (None, &["=1"], Err("--args =1: expected KEY=VALUE or JSON")),
            (None, &["a=1", "a=2"], Err("--args a=2: the key a is given twice")),
        ];
        for (json, args, expected) in cases {
            assert_eq!(
                read(json, args),
                expected.map(str::to_owned).map_err(str::to_owned),
                "{json:?} {args:?}"
            );
        }
    }

    #[test]
    fn results_are_printed_without_white_space() {
        for (result, expected) in [
            ("1.0", "1.0"),
            ("{ \"a b\" :\n [ 1.50 , \"x \\\" y\" ] }", "{\"a b\":[1.50,\"x \\\" y\"]}"),
            ("\"\\\\\" ", "\"\\\\\""),
        ] {
            assert_eq!(compact(result), expected);
        }
    }
}
