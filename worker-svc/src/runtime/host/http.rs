//! HTTP requests of guests.
//!
//! `__http_request` is what the published SDK calls: the host writes the answer's body to an address
//! without knowing how much room is there. `__http_send` and `__http_read` are the better pair: the
//! guest learns the length first, then reads.
//!
//! A request that cannot be made or gets no answer has failed: status 0, and the reason in the
//! function's log.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use mesh::telemetry::{self, WebSpan};
use tracing::Instrument as _;
use wasmtime::{Caller, Linker};

use super::memory::Region;
use super::{Fault, Guest, MODULE};

/// Who makes a request whose guest does not say it.
const USER_AGENT: &str = concat!("funless-mesh/", env!("CARGO_PKG_VERSION"));

/// Makes the requests of all guests; they share its connections.
#[derive(Debug)]
pub(crate) struct Client {
    client: reqwest::Client,
    max_body: usize,
}

/// One guest's part in it.
pub(super) struct Http {
    client: Arc<Client>,
    /// The body of the last `__http_send` that has not been read yet.
    unread: Bytes,
    /// Requests so far.
    pub(super) requests: u32,
}

impl Http {
    pub(super) fn new(client: Arc<Client>) -> Self {
        Self { client, unread: Bytes::new(), requests: 0 }
    }
}

impl Client {
    /// A client whose requests take no longer than `timeout` and whose answers have at most
    /// `max_body` bytes.
    pub(crate) fn new(timeout: Duration, max_body: usize) -> reqwest::Result<Self> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(mesh::tls::web())
            .timeout(timeout)
            .user_agent(USER_AGENT)
            .no_proxy()
            .build()?;
        Ok(Self { client, max_body })
    }

    /// The answer's status and body, or why there is none.
    async fn send(&self, request: Request) -> Result<(u16, Bytes), String> {
        let headers = read_headers(&request.headers)?;
        let uri = std::str::from_utf8(&request.uri).map_err(|_| "the URI is no UTF-8")?;
        let uri = reqwest::Url::parse(uri).map_err(|error| format!("{uri:?} is no URI: {error}"))?;
        let span = WebSpan::new(request.method.as_str(), &uri);
        let mut outgoing = self.client.request(request.method, uri);
        if !request.body.is_empty() {
            outgoing = outgoing.body(request.body);
        }
        let answer = self.exchange(outgoing, headers).instrument(span.span().clone()).await;
        match &answer {
            Ok((status, _)) => span.answered(*status),
            Err(_) => span.no_answer(),
        }
        answer
    }

    /// Sends a request within its span.
    async fn exchange(
        &self,
        outgoing: reqwest::RequestBuilder,
        mut headers: HeaderMap,
    ) -> Result<(u16, Bytes), String> {
        telemetry::inject_current(&mut headers);
        let mut answer = outgoing.headers(headers).send().await.map_err(|error| in_words(&error))?;
        let mut body = BytesMut::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| in_words(&error))? {
            if body.len() + chunk.len() > self.max_body {
                return Err(format!("the answer's body has more than {} bytes", self.max_body));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((answer.status().as_u16(), body.freeze()))
    }
}

/// An error with its causes: reqwest's own words do not say what happened.
fn in_words(error: &reqwest::Error) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words
}

/// A request as the guest handed it over.
struct Request {
    method: Method,
    uri: Bytes,
    headers: Bytes,
    body: Bytes,
}

/// `Name:value` joined by line breaks. A value may hold a colon.
fn read_headers(text: &[u8]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for line in text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()) {
        let wrong = || format!("{:?} is no header; expected Name:value", String::from_utf8_lossy(line));
        let colon = line.iter().position(|byte| *byte == b':').ok_or_else(wrong)?;
        let name = HeaderName::from_bytes(line[..colon].trim_ascii()).map_err(|_| wrong())?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).map_err(|_| wrong())?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// Pointer and length of the request's parts: URI, headers, body.
type Parts = [(i32, i32); 3];

impl Request {
    fn read(
        caller: &mut Caller<'_, Guest>,
        call: &'static str,
        method: i32,
        parts: Parts,
    ) -> Result<Self, Fault> {
        let method = match method {
            0 => Method::GET,
            1 => Method::POST,
            2 => Method::PUT,
            3 => Method::DELETE,
            _ => return Err(Fault::UnknownMethod { call, method }),
        };
        let mut copy = |what, (ptr, len): (i32, i32)| {
            let (bytes, _) = Region::new(call, what, ptr, len).access(caller)?;
            Ok(Bytes::copy_from_slice(bytes))
        };
        let [uri, headers, body] = parts;
        Ok(Self {
            method,
            uri: copy("the URI", uri)?,
            headers: copy("the headers", headers)?,
            body: copy("the body", body)?,
        })
    }

    /// Sends it. `None` when it failed, which the guest's log then says.
    async fn send(self, caller: &mut Caller<'_, Guest>) -> Option<(u16, Bytes)> {
        let http = &mut caller.data_mut().http;
        http.requests += 1;
        let client = Arc::clone(&http.client);
        match client.send(self).await {
            Ok(answer) => Some(answer),
            Err(reason) => {
                caller.data().console.log(format!("HTTP request failed: {reason}").as_bytes());
                None
            }
        }
    }
}

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap_async(
        MODULE,
        "__http_request",
        |mut caller: Caller<'_, Guest>,
         (response, response_len, status, method, uri, uri_len, headers, headers_len, body, body_len): (
            i32,
            i32,
            i32,
            i32,
            i32,
            i32,
            i32,
            i32,
            i32,
            i32,
        )| {
            let parts = [(uri, uri_len), (headers, headers_len), (body, body_len)];
            Box::new(async move {
                http_request(&mut caller, [response, response_len, status], method, parts).await
            })
        },
    )?;
    linker.func_wrap_async(
        MODULE,
        "__http_send",
        |mut caller: Caller<'_, Guest>,
         (status, method, uri, uri_len, headers, headers_len, body, body_len): (
            i32,
            i32,
            i32,
            i32,
            i32,
            i32,
            i32,
            i32,
        )| {
            let parts = [(uri, uri_len), (headers, headers_len), (body, body_len)];
            Box::new(async move { http_send(&mut caller, status, method, parts).await })
        },
    )?;
    linker.func_wrap(MODULE, "__http_read", http_read)?;
    Ok(())
}

async fn http_request(
    caller: &mut Caller<'_, Guest>,
    [response, response_len, status]: [i32; 3],
    method: i32,
    parts: Parts,
) -> wasmtime::Result<()> {
    const CALL: &str = "__http_request";
    let status = Region::room(CALL, "room for the status", status, size_of::<u16>());
    let length = Region::room(CALL, "room for the response's length", response_len, size_of::<u32>());
    // What cannot be answered is not sent.
    status.access(caller)?;
    length.access(caller)?;
    let request = Request::read(caller, CALL, method, parts)?;
    let (code, body) = request.send(caller).await.unwrap_or_default();
    let room = Region::room(CALL, "room for the response", response, body.len());
    room.access(caller)?.0.copy_from_slice(&body);
    // After the body, so that they hold even if it lies over them.
    write_u32(caller, length, room.len())?;
    status.access(caller)?.0.copy_from_slice(&code.to_le_bytes());
    Ok(())
}

fn write_u32(caller: &mut Caller<'_, Guest>, to: Region, value: usize) -> Result<(), Fault> {
    let value = u32::try_from(value).unwrap_or(u32::MAX);
    to.access(caller)?.0.copy_from_slice(&value.to_le_bytes());
    Ok(())
}

/// The length of the body, which is kept for `__http_read`; -1 when the request failed.
async fn http_send(
    caller: &mut Caller<'_, Guest>,
    status: i32,
    method: i32,
    parts: Parts,
) -> wasmtime::Result<i32> {
    const CALL: &str = "__http_send";
    let status = Region::room(CALL, "room for the status", status, size_of::<u16>());
    status.access(caller)?;
    let request = Request::read(caller, CALL, method, parts)?;
    let answer = request.send(caller).await;
    let (code, body) = answer.clone().unwrap_or_default();
    let length = answer.map_or(-1, |(_, body)| i32::try_from(body.len()).unwrap_or(i32::MAX));
    let (room, guest) = status.access(caller)?;
    room.copy_from_slice(&code.to_le_bytes());
    guest.http.unread = body;
    Ok(length)
}

/// The next bytes of the kept body, at most `len`. Gives how many.
fn http_read(mut caller: Caller<'_, Guest>, ptr: i32, len: i32) -> wasmtime::Result<i32> {
    let (room, guest) = Region::new("__http_read", "room for the body", ptr, len).access(&mut caller)?;
    let count = room.len().min(guest.http.unread.len());
    guest.http.unread.copy_to_slice(&mut room[..count]);
    Ok(i32::try_from(count).unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        let headers = read_headers(b"A:1\nB: x:y:z \n\na:2\r\n").expect("valid");
        assert_eq!(headers.get_all("a").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(headers["b"], "x:y:z");
        assert!(read_headers(b"").expect("none").is_empty());
        for wrong in ["no colon", ":value", "na me:value", "A:\x01"] {
            let error = read_headers(wrong.as_bytes()).expect_err(wrong);
            assert!(error.ends_with("is no header; expected Name:value"), "{error}");
        }
    }
}
