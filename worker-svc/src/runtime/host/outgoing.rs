//! HTTP requests of components. Bodies are streamed in both directions.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _, future, stream};
use http::{Request, Response};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt as _, BodyStream, StreamBody};
use mesh::egress::{HttpError, Outbound};
use mesh::telemetry::{self, Traced as _, WebSpan};
use parking_lot::Mutex;
use tracing::Instrument as _;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::console::Console;
use super::http::{HttpClient, RequestError};
use crate::budget::{HeldBytes, MemoryBudget, Reservation};

/// The most that a component writes to a body at once, in bytes.
const CHUNK_BYTES: usize = 64 << 10;
/// The same if there is no memory for more.
const SMALL_CHUNK_BYTES: usize = 1 << 10;
/// Chunks that wait to be sent, the most. A body has one further slot.
const WAITING_CHUNKS: usize = 1;

/// The requests of one component.
pub(super) struct OutgoingHttp {
    client: Arc<HttpClient>,
    outbound: Outbound,
    budget: MemoryBudget,
    console: Console,
    /// Requests so far.
    pub(super) requests: u32,
    unsent: Unsent,
}

/// For the chunks of bodies that the component has made, and that are not sent yet: one reservation for each.
#[derive(Clone, Default)]
struct Unsent(Arc<Mutex<Vec<Reservation>>>);

/// A body is sent when this is dropped.
struct Sending(Unsent);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.0.lock().pop();
    }
}

type Sent<T> = Box<dyn Future<Output = Result<T, Error>> + Send>;

impl OutgoingHttp {
    pub(super) fn new(
        client: &Arc<HttpClient>,
        outbound: &Outbound,
        budget: &MemoryBudget,
        console: &Console,
    ) -> Self {
        Self {
            client: Arc::clone(client),
            outbound: outbound.clone(),
            unsent: Unsent::default(),
            budget: budget.clone(),
            console: console.clone(),
            requests: 0,
        }
    }
}

impl WasiHttpHooks for OutgoingHttp {
    /// The client sets it.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _read: Sent<()>,
    ) -> Sent<(Response<WasiBody>, Sent<()>)> {
        self.requests += 1;
        let (client, console) = (Arc::clone(&self.client), self.console.clone());
        let (outbound, budget) = (self.outbound.clone(), self.budget.clone());
        let has_body = request.body().size_hint().exact() != Some(0);
        let request = request.map(|body| has_body.then(|| (body, Sending(self.unsent.clone()))));
        let sending = async move {
            match send(&client, &outbound, &budget, request, options.unwrap_or_default()).await {
                Ok(response) => Ok((response, Box::new(future::ready(Ok(()))) as Sent<()>)),
                Err(error) => {
                    console.log(format!("HTTP request failed: {error}").as_bytes());
                    Err(error_code(&error))
                }
            }
        };
        // It is sent by a task of its own.
        Box::new(sending.in_current_trace())
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        // A body is made.
        let Ok(reservation) = self.budget.reserve(CHUNK_BYTES * (WAITING_CHUNKS + 1)) else {
            return SMALL_CHUNK_BYTES;
        };
        self.unsent.0.lock().push(reservation);
        CHUNK_BYTES
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        WAITING_CHUNKS
    }
}

/// Sends a request, and returns the response when its headers have arrived.
async fn send(
    client: &Arc<HttpClient>,
    outbound: &Outbound,
    budget: &MemoryBudget,
    request: Request<Option<(WasiBody, Sending)>>,
    options: RequestOptions,
) -> Result<Response<WasiBody>, RequestError> {
    let (head, body) = request.into_parts();
    let uri = head.uri.to_string();
    let uri = reqwest::Url::parse(&uri).map_err(|error| format!("{uri:?} is not a URI: {error}"))?;
    let span = WebSpan::new(head.method.as_str(), &uri);
    let mut headers = head.headers;
    let mut outgoing = client.plain().request(head.method, uri);
    if let Some((body, sending)) = body {
        outgoing = outgoing.body(reqwest::Body::wrap_stream(data_of(body, sending)));
    }
    let exchange = async {
        telemetry::inject_current(&mut headers);
        let outgoing = outgoing.headers(headers).build().map_err(HttpError::Failed)?;
        Ok::<_, RequestError>(client.plain().send(outbound, outgoing).await?)
    };
    let exchange = exchange.instrument(span.span().clone());
    let answered = match head_timeout(options) {
        Some(timeout) => tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(RequestError::Slow)),
        None => exchange.await,
    };
    match &answered {
        Ok(response) => span.answered(response.status().as_u16()),
        Err(RequestError::Http(HttpError::Denied(_))) => span.denied(),
        Err(_) => span.no_answer(),
    }
    Ok(streamed(answered?, client.max_body(), budget.clone(), options.between_bytes_timeout))
}

/// How long the headers of the response may take. The time to connect counts, too.
fn head_timeout(options: RequestOptions) -> Option<Duration> {
    let first_byte = options.first_byte_timeout?;
    Some(first_byte.saturating_add(options.connect_timeout.unwrap_or_default()))
}

/// The data of a body. Trailers are not sent.
fn data_of(body: WasiBody, sending: Sending) -> impl Stream<Item = Result<Bytes, Error>> + Send {
    BodyStream::new(body)
        .inspect(move |_| _ = &sending)
        .try_filter_map(|frame| future::ready(Ok(frame.into_data().ok())))
}

/// A response whose body is read as it arrives, at most `max_bytes` of it. What has arrived is taken from `budget`.
fn streamed(
    response: reqwest::Response,
    max_bytes: usize,
    budget: MemoryBudget,
    between_bytes: Option<Duration>,
) -> Response<WasiBody> {
    let (status, headers) = (response.status(), response.headers().clone());
    let chunks = stream::try_unfold((response, max_bytes), move |(mut response, left)| {
        let budget = budget.clone();
        async move {
            let chunk = match between_bytes {
                Some(timeout) => tokio::time::timeout(timeout, response.chunk())
                    .await
                    .map_err(|_| Error::ConnectionReadTimeout)?,
                None => response.chunk().await,
            };
            let Some(chunk) = chunk.map_err(|error| error_code(&HttpError::Failed(error).into()))? else {
                return Ok(None);
            };
            let Some(left) = left.checked_sub(chunk.len()) else {
                return Err(Error::HttpResponseBodySize(Some(max_bytes as u64)));
            };
            let held = HeldBytes::new(&budget, chunk);
            let held = held.map_err(|exhausted| Error::InternalError(Some(exhausted.to_string())))?;
            Ok(Some((Frame::data(held.into_shared()), (response, left))))
        }
    });
    let mut streamed = Response::new(StreamBody::new(chunks).boxed_unsync());
    (*streamed.status_mut(), *streamed.headers_mut()) = (status, headers);
    streamed
}

/// The error as the component gets it.
fn error_code(error: &RequestError) -> Error {
    match error {
        RequestError::Malformed(_) => Error::HttpRequestUriInvalid,
        RequestError::Slow => Error::HttpResponseTimeout,
        RequestError::Http(HttpError::Denied(_)) => Error::HttpRequestDenied,
        RequestError::Http(HttpError::Failed(error)) if error.is_timeout() && error.is_connect() => {
            Error::ConnectionTimeout
        }
        RequestError::Http(HttpError::Failed(error)) if error.is_timeout() => Error::HttpResponseTimeout,
        RequestError::Http(HttpError::Failed(error)) if error.is_connect() => Error::ConnectionRefused,
        RequestError::Http(HttpError::Failed(error)) if error.is_body() || error.is_decode() => {
            Error::HttpResponseIncomplete
        }
        other => Error::InternalError(Some(other.to_string())),
    }
}
