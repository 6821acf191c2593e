//! `fl fn logs`.

use std::io::Write as _;
use std::pin::pin;

use anyhow::Context as _;
use mesh::printable;
use reqwest::{Method, Response};
use serde::Deserialize;
use serde_json::Value;

use crate::args::Logs;
use crate::client::{Client, data};
use crate::pipe;

/// What comes, a line of JSON each.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum LogEvent {
    Line(Line),
    Missed { missed: u64 },
    Unreachable { unreachable: Vec<String> },
}

#[derive(Debug, Deserialize)]
struct Line {
    at: String,
    text: String,
    invocation: String,
    trace_id: Option<String>,
    worker: String,
}

/// Shows the log, and with `--follow` goes on until Ctrl-C.
pub async fn run(options: Logs, client: &Client) -> anyhow::Result<()> {
    let (module, name) = options.function.parts()?;
    let mut query = Vec::new();
    query.extend(options.follow.then(|| ("follow", "true".to_owned())));
    query.extend(options.lines.map(|lines| ("lines", lines.to_string())));
    query.extend(options.trace.clone().map(|id| ("trace_id", id)));
    let request = client.query(Method::GET, &["fn", module, name, "logs"], &query)?;
    let shown = match options.follow {
        true => follow(client.stream(request).await?, options.json).await,
        false => show_all(&client.send(request).await?, options.json),
    };
    match shown {
        Err(error) if pipe::is_closed(&error) => Ok(()),
        shown => shown,
    }
}

fn show_all(body: &str, json: bool) -> anyhow::Result<()> {
    let log: Value = data(body)?;
    if log["missed"].as_u64().is_some_and(|missed| missed > 0) {
        show(&serde_json::json!({ "missed": log["missed"] }).to_string(), json)?;
    }
    for line in log["lines"].as_array().into_iter().flatten() {
        show(&line.to_string(), json)?;
    }
    let unreachable = log["unreachable"].as_array().filter(|workers| !workers.is_empty());
    match unreachable {
        Some(_) => show(&serde_json::json!({ "unreachable": log["unreachable"] }).to_string(), json),
        None => Ok(()),
    }
}

async fn follow(mut answer: Response, json: bool) -> anyhow::Result<()> {
    let mut stop = pin!(mesh::shutdown::requested());
    let mut unfinished = Vec::new();
    loop {
        let chunk = tokio::select! {
            stop = &mut stop => return Ok(stop?),
            chunk = answer.chunk() => chunk.context("the answer broke off; start it again to go on")?,
        };
        let Some(chunk) = chunk else {
            anyhow::bail!(
                "the log has ended: the function was deleted, the mesh stops, or the token is revoked"
            );
        };
        unfinished.extend_from_slice(&chunk);
        while let Some(end) = unfinished.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = unfinished.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            // Empty ones keep the connection alive.
            if !line.trim().is_empty() {
                show(line.trim(), json)?;
            }
        }
    }
}

/// Lines go to the standard output; what is said about them does not.
fn show(line: &str, json: bool) -> anyhow::Result<()> {
    let told: LogEvent = serde_json::from_str(line).context("the answer is not what was expected")?;
    let mut out = std::io::stdout().lock();
    match told {
        LogEvent::Line(_) if json => writeln!(out, "{line}")?,
        LogEvent::Line(line) => writeln!(out, "{}", in_words(&line))?,
        LogEvent::Missed { missed } => {
            eprintln!("({missed} lines are left out: they are too many, or came faster than they were read)")
        }
        LogEvent::Unreachable { unreachable } => {
            eprintln!("(not asked, since they do not answer: {})", unreachable.join(", "));
        }
    }
    Ok(out.flush()?)
}

fn in_words(Line { at, text, invocation, trace_id, worker }: &Line) -> String {
    let trace = trace_id.as_ref().map_or_else(String::new, |id| format!(" trace={id}"));
    printable::line(&format!("{at} {worker} {text}  invocation={invocation}{trace}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_in_words() {
        let cases = [
            (
                r#"{"at":"2026-01-01T00:00:00Z","text":"hi","invocation":"i","trace_id":null,"worker":"w"}"#,
                "2026-01-01T00:00:00Z w hi  invocation=i",
            ),
            (
                r#"{"at":"2026-01-01T00:00:00Z","text":"hi","invocation":"i","trace_id":"t","worker":"w"}"#,
                "2026-01-01T00:00:00Z w hi  invocation=i trace=t",
            ),
            (
                r#"{"at":"2026-01-01T00:00:00Z","text":"\u001b[2J","invocation":"i","trace_id":null,"worker":"w"}"#,
                "2026-01-01T00:00:00Z w \\u{1b}[2J  invocation=i",
            ),
        ];
        for (json, expected) in cases {
            match serde_json::from_str(json).expect("JSON") {
                LogEvent::Line(line) => assert_eq!(in_words(&line), expected),
                other => panic!("{other:?}"),
            }
        }
    }
}
