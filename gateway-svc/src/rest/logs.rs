//! The logs of functions.

mod query;

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use mesh::Caller;
use mesh::clock::rfc_3339_us;
use proto::log::v1::{LogLine, TailLogsRequest, TailLogsResponse};
use serde::Serialize;
use utoipa::ToSchema;

use super::Rest;
use super::error::{ApiError, CommonErrors, Failure};
use super::extract::{Names, Query, User};
use super::revision::Revision;
use super::schema::Data;
use query::LogsQuery;

/// The interval of empty lines, so that proxies do not close an idle response.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The log lines that the workers keep.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Log {
    /// Oldest first.
    lines: Vec<LineView>,
    /// The number of older lines that were left out because there are too many; `lines` requests fewer.
    missed: u64,
    /// Workers that could not be reached.
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
    /// Null: the invocation was not traced.
    trace_id: Option<String>,
    /// The worker that ran the function.
    worker: String,
}

/// Reads the logs of a function, from all workers.
///
/// Workers keep the latest lines of all their functions, a few megabytes. With `follow`, each line of the
/// response is a JSON object: a log line, `{"missed": NUMBER}` if lines came faster than they were read, or
/// `{"unreachable": [WORKER, ...]}`, the workers that could not be reached. Empty lines keep the connection
/// alive.
#[utoipa::path(get, path = "/v1/fn/{module}/{function}/logs", tag = "functions",
    params(
        ("module" = String, Path, description = "The module's name."),
        ("function" = String, Path, description = "The function's name."),
        LogsQuery,
        ("x-funless-revision" = Option<u64>, Header,
            description = "The `X-FunLess-Revision` of a write through another gateway: \
                the function is looked up after that write."),
    ),
    responses(
        (status = 200, description = "The lines.", body = Data<Log>),
        (status = 400, description = "The query is malformed.", body = Failure),
        (status = 403, description = "The function is another subject's, in a shared module.", body = Failure),
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

/// Streams new lines until this gateway drains, the token is revoked, or the scheduler ends the stream.
async fn follow_logs(
    rest: Rest,
    caller: Caller,
    request: TailLogsRequest,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let end = rest.subscriptions.begin(headers, caller.clone())?;
    // Without a deadline.
    let request = caller.attach(tonic::Request::new(request));
    let responses = rest.channels.logs().tail_logs(request).await?.into_inner();
    let lines = with_keep_alive(responses.map_ok(to_ndjson)).take_until(Box::pin(end));
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, Body::from_stream(lines)).into_response())
}

/// Adds an empty line whenever there has been no chunk for a while.
fn with_keep_alive<E>(
    chunks: impl Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
) -> impl Stream<Item = Result<Bytes, E>> + Send {
    stream::unfold(chunks, async |mut chunks| match tokio::time::timeout(KEEP_ALIVE, chunks.next()).await {
        Ok(chunk) => Some((chunk?, chunks)),
        Err(_) => Some((Ok(Bytes::from_static(b"\n")), chunks)),
    })
}

/// Formats a response as NDJSON.
fn to_ndjson(response: TailLogsResponse) -> Bytes {
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
    serde_json::to_writer(text.writer(), line)
        .expect("numbers and texts are serializable, and writing to memory cannot fail");
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
        assert_eq!(to_ndjson(response), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn idle_streams_are_kept_alive() {
        let chunks = stream::pending::<Result<Bytes, mesh::Error>>();
        let mut lines = Box::pin(with_keep_alive(chunks));
        assert_eq!(lines.next().await.expect("a line").expect("no error"), "\n");
    }
}
