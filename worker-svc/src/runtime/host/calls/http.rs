//! `__http_request`, `__http_send` and `__http_read`: HTTP requests of guests.
//!
//! The published SDK calls `__http_request`: the host writes the response's body to an address without
//! knowing how much memory is reserved there. With `__http_send` and `__http_read` the guest gets the length
//! first, and then reads.

use http::Method;
use wasmtime::{Caller, Linker};

use crate::budget::HeldBytes;
use crate::runtime::host::abi::{HostCallError, MODULE};
use crate::runtime::host::guest::Guest;
use crate::runtime::host::http::{HttpRequest, HttpResponse, RequestError};
use crate::runtime::host::memory::Region;

/// The call that also takes methods which the published SDK does not have.
const HTTP_SEND: &str = "__http_send";

/// Pointer and length of a request's parts: URI, headers, body.
type RequestParts = [(i32, i32); 3];

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
        HTTP_SEND,
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
    parts: RequestParts,
) -> wasmtime::Result<()> {
    const CALL: &str = "__http_request";
    let status = Region::buffer(CALL, "a buffer for the status", status, size_of::<u16>());
    let length = Region::buffer(CALL, "a buffer for the response's length", response_len, size_of::<u32>());
    // A request whose response could not be written is not sent.
    status.access(caller)?;
    length.access(caller)?;
    let request = read_request(caller, CALL, method, parts)?;
    let answer = send(caller, request).await?;
    // 0: the request failed.
    let (code, body) = answer.as_ref().map_or((0, &[][..]), |answer| (answer.status, &*answer.body));
    let buffer = Region::buffer(CALL, "a buffer for the response", response, body.len());
    buffer.access(caller)?.0.copy_from_slice(body);
    // After the body, so that they hold even where it overlaps them.
    write_u32(caller, length, buffer.len())?;
    status.access(caller)?.0.copy_from_slice(&code.to_le_bytes());
    Ok(())
}

fn write_u32(caller: &mut Caller<'_, Guest>, to: Region, value: usize) -> Result<(), HostCallError> {
    let value = u32::try_from(value).unwrap_or(u32::MAX);
    to.access(caller)?.0.copy_from_slice(&value.to_le_bytes());
    Ok(())
}

/// Returns the length of the body, which is kept for `__http_read`; -1 if the request failed.
async fn http_send(
    caller: &mut Caller<'_, Guest>,
    status: i32,
    method: i32,
    parts: RequestParts,
) -> wasmtime::Result<i32> {
    let status = Region::buffer(HTTP_SEND, "a buffer for the status", status, size_of::<u16>());
    status.access(caller)?;
    let request = read_request(caller, HTTP_SEND, method, parts)?;
    // The former response is not needed any more.
    caller.data_mut().http.unread = None;
    let (code, length, body) = match send(caller, request).await? {
        Some(HttpResponse { status, body }) => {
            (status, i32::try_from(body.len()).unwrap_or(i32::MAX), Some(body))
        }
        None => (0, -1, None),
    };
    let (buffer, guest) = status.access(caller)?;
    buffer.copy_from_slice(&code.to_le_bytes());
    guest.http.unread = body;
    Ok(length)
}

/// Reads the next bytes of the kept body, at most `len`. Returns how many.
fn http_read(mut caller: Caller<'_, Guest>, ptr: i32, len: i32) -> wasmtime::Result<i32> {
    let region = Region::new("__http_read", "a buffer for the body", ptr, len);
    let (buffer, guest) = region.access(&mut caller)?;
    let Some(unread) = &mut guest.http.unread else { return Ok(0) };
    let count = unread.read(buffer);
    if unread.is_empty() {
        guest.http.unread = None;
    }
    Ok(i32::try_from(count).unwrap_or(i32::MAX))
}

fn read_request(
    caller: &mut Caller<'_, Guest>,
    call: &'static str,
    method: i32,
    parts: RequestParts,
) -> wasmtime::Result<HttpRequest> {
    let method = match (method, call) {
        (0, _) => Method::GET,
        (1, _) => Method::POST,
        (2, _) => Method::PUT,
        (3, _) => Method::DELETE,
        (4, HTTP_SEND) => Method::PATCH,
        (5, HTTP_SEND) => Method::HEAD,
        (6, HTTP_SEND) => Method::OPTIONS,
        _ => return Err(HostCallError::UnknownMethod { call, method }.into()),
    };
    let mut copy = |what, (ptr, len): (i32, i32)| -> wasmtime::Result<HeldBytes> {
        let (bytes, guest) = Region::new(call, what, ptr, len).access(caller)?;
        Ok(HeldBytes::copy(&guest.budget, bytes)?)
    };
    let [uri, headers, body] = parts;
    Ok(HttpRequest {
        method,
        uri: copy("the URI", uri)?,
        headers: copy("the headers", headers)?,
        body: copy("the body", body)?,
    })
}

/// Sends a request of this guest. `None` if it failed; the guest's log then says why.
async fn send(
    caller: &mut Caller<'_, Guest>,
    request: HttpRequest,
) -> wasmtime::Result<Option<HttpResponse>> {
    let guest = caller.data_mut();
    guest.http.requests += 1;
    let ((client, outbound), budget) = (guest.http.client(), guest.budget.clone());
    match client.send(&outbound, &budget, request).await {
        Ok(response) => Ok(Some(response)),
        Err(RequestError::Exhausted(exhausted)) => Err(exhausted.into()),
        Err(error) => {
            caller.data().console.log(format!("HTTP request failed: {error}").as_bytes());
            Ok(None)
        }
    }
}
