//! What functions have logged.

mod query;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use mesh::{Caller, Error};
use proto::log::v1::{LogLine, TailLogsRequest, TailLogsResponse};
use serde::Serialize;
use utoipa::ToSchema;

use super::Rest;
use super::error::{ApiError, CommonErrors, Failure};
use super::extract::{Names, Query, User};
use super::revision::Revision;
use super::schema::Data;
use super::time::rfc_3339_us;
use query::LogsQuery;

/// An empty line goes out so often, so that whoever is between knows that the answer lasts.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How often the token of who follows is looked at again.
const REAUTHENTICATE: Duration = Duration::from_secs(1);
/// When who found no place may come back.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The lines that the workers remember.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Log {
    /// Oldest first.
    lines: Vec<LineView>,
    /// Older lines that are remembered and left out here, since there are too many; `lines` asks for fewer.
    missed: u64,
    /// Workers that could not be asked.
    unreachable: Vec<String>,
}

/// A line that a function has logged.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LogLine)]
struct LineView {
    /// RFC 3339, to the microsecond.
    at: String,
    text: String,
    /// The `X-FunLess-Invocation` of its invocation.
    invocation: String,
    /// Null: the invocation belongs to no trace.
    trace_id: Option<String>,
    /// The worker that ran the function.
    worker: String,
}

/// Reads what a function has logged, on all workers.
///
/// Workers remember the latest lines of all their functions, a few megabytes. With `follow` each line of the
/// answer is a JSON object: a log line, `{"missed": NUMBER}` when lines came faster than they were read, or
/// `{"unreachable": [WORKER, ...]}`, the workers that could not be asked. Empty lines keep the connection alive.
#[utoipa::path(get, path = "/v1/fn/{module}/{function}/logs", tag = "functions",
    params(
        ("module" = String, Path, description = "The module's name."),
        ("function" = String, Path, description = "The function's name."),
        LogsQuery,
        ("x-funless-revision" = Option<u64>, Header,
            description = "The revision that a write through another gateway was answered with: \
                the function is found as of that write."),
    ),
    responses(
        (status = 200, description = "The lines.", body = Data<Log>),
        (status = 400, description = "The query is malformed.", body = Failure),
        (status = 404, description = "No such function.", body = Failure),
        CommonErrors,
    ))]
pub(super) async fn read_logs(
    State(rest): State<Rest>,
    User(caller): User,
    Names((module, function)): Names<(String, String)>,
    Query(query): Query<LogsQuery>,
    seen: Revision,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let mut request = query.read(module, function)?;
    request.min_revision = rest.latest_revision.at_least(seen);
    if request.follow {
        return follow_logs(rest, caller, request, headers).await;
    }
    let request = rest.request(&caller, request);
    let mut responses = rest.channels.logs().tail_logs(request).await?.into_inner();
    let TailLogsResponse { lines, missed, unreachable } = responses.message().await?.unwrap_or_default();
    let log = Log { lines: lines.into_iter().map(LineView::from).collect(), missed, unreachable };
    Ok(Json(Data { data: log }).into_response())
}

/// Lines as they come, until this gateway drains, the token ends, or the scheduler has no more.
async fn follow_logs(
    rest: Rest,
    caller: Caller,
    request: TailLogsRequest,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let place = Arc::clone(&rest.followers).try_acquire_owned();
    let place = place.map_err(|_| Error::overloaded("too many follow logs", RETRY_AFTER))?;
    // A subscription: without a deadline.
    let request = caller.attach(tonic::Request::new(request));
    let responses = rest.channels.logs().tail_logs(request).await?.into_inner();
    let end = async move {
        let _held = place;
        tokio::select! {
            () = rest.draining.cancelled() => {}
            _revoked = rest.authenticator.revoked(&headers, &caller, REAUTHENTICATE) => {}
        }
    };
    let lines = with_keep_alive(responses.map_ok(written)).take_until(Box::pin(end));
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, Body::from_stream(lines)).into_response())
}

/// The same with an empty line whenever nothing has come for long.
fn with_keep_alive<E>(
    chunks: impl Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
) -> impl Stream<Item = Result<Bytes, E>> + Send {
    stream::unfold(chunks, async |mut chunks| match tokio::time::timeout(KEEP_ALIVE, chunks.next()).await {
        Ok(chunk) => Some((chunk?, chunks)),
        Err(_) => Some((Ok(Bytes::from_static(b"\n")), chunks)),
    })
}

/// A line for each.
fn written(response: TailLogsResponse) -> Bytes {
    #[derive(Serialize)]
    struct Missed {
        missed: u64,
    }
    #[derive(Serialize)]
    struct Unreachable {
        unreachable: Vec<String>,
    }
    let mut text = BytesMut::new();
    if response.missed > 0 {
        write_line(&mut text, &Missed { missed: response.missed });
    }
    if !response.unreachable.is_empty() {
        write_line(&mut text, &Unreachable { unreachable: response.unreachable });
    }
    for line in response.lines {
        write_line(&mut text, &LineView::from(line));
    }
    text.freeze()
}

fn write_line(text: &mut BytesMut, line: &impl Serialize) {
    serde_json::to_writer(text.writer(), line).expect("numbers and texts are JSON, and memory takes them");
    text.put_u8(b'\n');
}

impl From<LogLine> for LineView {
    fn from(LogLine { at_us, text, invocation_id, trace_id, worker, .. }: LogLine) -> Self {
        let trace_id = Some(trace_id).filter(|id| !id.is_empty());
        Self { at: rfc_3339_us(at_us), text, invocation: invocation_id, trace_id, worker }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_an_object() {
        let line = LogLine { at_us: 1_700_000_000_123_456, text: "a\n\"b\"".into(), ..LogLine::default() };
        let response = TailLogsResponse { lines: vec![line], missed: 2, unreachable: vec!["w".into()] };
        let expected = concat!(
            "{\"missed\":2}\n",
            "{\"unreachable\":[\"w\"]}\n",
            r#"{"at":"2023-11-14T22:13:20.123456Z","text":"a\n\"b\"","invocation":"","trace_id":null,"worker":""}"#,
            "\n"
        );
        assert_eq!(written(response), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_broken() {
        let chunks = stream::pending::<Result<Bytes, Error>>();
        let mut lines = Box::pin(with_keep_alive(chunks));
        assert_eq!(lines.next().await.expect("a line").expect("no error"), "\n");
    }
}
