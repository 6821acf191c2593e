//! The log of a function, which goes on while somebody looks.

use axum::body::Body;
use axum::extract::{Path, Query};
use axum::response::Response;
use axum::response::sse::Event;
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _, stream};
use http::{HeaderMap, Method, StatusCode};
use maud::{Markup, html};
use serde::Deserialize;

use super::api::{Api, succeeded};
use super::failure::Failure;
use super::functions::path;
use super::layout::failed;
use super::live;
use super::model::{Function, Line, Log};
use super::parts::{count, escaped};
use super::visitor::Visitor;

/// How many of the kept lines are shown.
const SHOWN: usize = 100;

#[derive(Debug, Default, Deserialize)]
pub(super) struct LogQuery {
    /// Only the lines of this trace.
    #[serde(default)]
    pub(super) trace: String,
}

/// A line of the stream: one of these.
#[derive(Deserialize)]
#[serde(untagged)]
enum Followed {
    Line(Line),
    Missed { missed: u64 },
    Unreachable { unreachable: Vec<String> },
}

/// The kept lines of a function, or of one trace.
pub(super) async fn read(api: &Api, module: &str, name: &str, trace: &str) -> Result<Log, Failure> {
    api.get(&format!("{}?lines={SHOWN}{}", log_path(module, name), of_trace(trace))).await
}

fn log_path(module: &str, name: &str) -> String {
    format!("/v1/fn/{}/{}/logs", escaped(module), escaped(name))
}

fn of_trace(trace: &str) -> String {
    match trace {
        "" => String::new(),
        trace => format!("&trace_id={}", escaped(trace)),
    }
}

/// The lines so far; a browser with scripts follows.
pub(super) fn panel(function: &Function, trace: &str, log: &Result<Log, Failure>) -> Markup {
    let own = path(&function.module, &function.name);
    let follow = match trace {
        "" => format!("{own}/logs"),
        trace => format!("{own}/logs?trace={}", escaped(trace)),
    };
    html! {
        section.panel aria-labelledby="log" {
            header {
                h2 id="log" { "Log" }
                label.filter { span.hidden { "Filter" } input type="search" placeholder="Filter" data-filter="#lines"; }
            }
            @if !trace.is_empty() {
                p.quiet { "Of the trace " code { (trace) } ". " a href=(own) { "All lines" } }
            }
            @match log {
                Ok(Log { lines, missed, unreachable }) => {
                    @if *missed > 0 { p.quiet { (count(*missed)) " older lines are left out." } }
                    @if !unreachable.is_empty() { (failed(&format!("Not reached: {}.", unreachable.join(", ")))) }
                    ol.log id="lines" tabindex="0" sse-connect=(follow) sse-swap="line" hx-swap="beforeend" data-log {
                        @for one in lines { (line(one, true)) }
                    }
                }
                Err(failure) if failure.status == StatusCode::FORBIDDEN => {
                    p.quiet { "The log is for the creator of the function." }
                }
                Err(failure) => (failed(&failure.message)),
            }
        }
    }
}

/// One line. Its text is a function's, so it is text.
pub(super) fn line(line: &Line, with_link: bool) -> Markup {
    html! {
        li {
            time datetime=(line.at) title={ (line.at) " at " (line.worker) } { (line.at.get(11..23).unwrap_or_default()) }
            code { (line.text) }
            @if with_link && !line.invocation.is_empty() {
                a href={ "/console/invocations/" (escaped(&line.invocation)) } aria-label="The invocation of this line" { "↗" }
            }
        }
    }
}

/// `GET /console/functions/{module}/{function}/logs`: new lines as server-sent events.
pub(super) async fn follow(
    visitor: Visitor,
    Path((module, name)): Path<(String, String)>,
    Query(LogQuery { trace }): Query<LogQuery>,
) -> Result<Response, Failure> {
    let path = format!("{}?follow=true&lines={SHOWN}{}", log_path(&module, &name), of_trace(&trace));
    let response = visitor.api.send(Method::GET, &path, HeaderMap::new(), Body::empty()).await;
    if !response.status().is_success() {
        return Err(match succeeded(response).await {
            Ok(_) => Failure::internal("a log without lines"),
            Err(failure) => failure,
        });
    }
    let lines = lines(response.into_body()).filter_map(async |text| {
        let shown = match serde_json::from_slice(&text).ok()? {
            Followed::Line(one) => line(&one, true),
            Followed::Missed { missed } => html! { li.quiet { (count(missed)) " lines were missed." } },
            Followed::Unreachable { unreachable } => {
                html! { li.quiet { "Not reached: " (unreachable.join(", ")) "." } }
            }
        };
        Some(Event::default().event("line").data(shown.into_string()))
    });
    Ok(live::events(lines))
}

/// The lines of a body, until it ends or breaks off.
fn lines(body: Body) -> impl Stream<Item = Bytes> + Send + 'static {
    let state = (Box::pin(body.into_data_stream()), BytesMut::new());
    stream::unfold(state, async |(mut body, mut read)| {
        loop {
            if let Some(end) = read.iter().position(|byte| *byte == b'\n') {
                let line = read.split_to(end + 1).freeze();
                return Some((line.slice(..end), (body, read)));
            }
            read.extend_from_slice(&body.next().await?.ok()?);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_split_where_they_end() {
        let pieces = ["{\"a\":1}\n{\"b\"", ":2}\n\n", "rest"].map(Ok::<_, std::io::Error>);
        let body = Body::from_stream(stream::iter(pieces));
        let read: Vec<_> = lines(body).collect().await;
        assert_eq!(read, ["{\"a\":1}", "{\"b\":2}", ""]);
    }

    #[test]
    fn a_line_of_html_is_text() {
        let hostile = Line {
            at: "2026-11-27T17:29:18.764413Z".into(),
            text: "<img src=x onerror=alert(1)>".into(),
            invocation: "\"><script>".into(),
            worker: "w".into(),
        };
        let shown = line(&hostile, true).into_string();
        assert!(!shown.contains("<img") && !shown.contains("<script"), "{shown}");
    }
}
