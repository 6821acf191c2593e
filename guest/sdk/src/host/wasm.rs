//! The host functions of FunLess.
#![allow(unsafe_code)]

use core::arch::wasm32;

use crate::http::{Request, Response};

#[link(wasm_import_module = "fl_imps")]
unsafe extern "C" {
    fn __get_input_data(to: *mut u8);
    fn __insert_response(from: *const u8, length: usize);
    fn __insert_error(from: *const u8, length: usize);
    fn __console_log(from: *const u8, length: usize);
    fn __http_request(
        response: *mut u8,
        response_length: *mut u32,
        status: *mut u16,
        method: i32,
        url: *const u8,
        url_length: usize,
        headers: *const u8,
        headers_length: usize,
        body: *const u8,
        body_length: usize,
    );
    // These two are not part of published versions of FunLess. A function that does not send requests this way does
    // not import them.
    fn __http_send(
        status: *mut u16,
        method: i32,
        url: *const u8,
        url_length: usize,
        headers: *const u8,
        headers_length: usize,
        body: *const u8,
        body_length: usize,
    ) -> i32;
    fn __http_read(to: *mut u8, length: usize) -> i32;
}

/// The input, which has `length` bytes.
pub(crate) fn input(length: usize) -> Vec<u8> {
    let mut input = Vec::with_capacity(length);
    // SAFETY: the host writes `length` bytes, for which there is room.
    unsafe {
        __get_input_data(input.as_mut_ptr());
        input.set_len(length);
    }
    input
}

/// Passes the response to the host.
pub(crate) fn insert_response(response: &[u8]) {
    // SAFETY: the host reads the bytes of the slice.
    unsafe { __insert_response(response.as_ptr(), response.len()) }
}

/// Passes the error message to the host.
pub(crate) fn insert_error(message: &str) {
    // SAFETY: the host reads the bytes of the text.
    unsafe { __insert_error(message.as_ptr(), message.len()) }
}

/// Writes to the function's log.
pub(crate) fn log_line(line: &str) {
    // SAFETY: the host reads the bytes of the text.
    unsafe { __console_log(line.as_ptr(), line.len()) }
}

/// Sends a request. The response may have any size. `None` if there is none.
pub(crate) fn send(request: &Request) -> Option<Response> {
    let Request { method, url, body, .. } = request;
    let headers = request.headers_text();
    let mut status = 0;
    // SAFETY: the host reads the bytes of the slices, and writes the status.
    let length = unsafe {
        __http_send(
            &mut status,
            method.number(),
            url.as_ptr(),
            url.len(),
            headers.as_ptr(),
            headers.len(),
            body.as_ptr(),
            body.len(),
        )
    };
    let length = usize::try_from(length).ok()?;
    let mut body = Vec::with_capacity(length);
    // SAFETY: the host writes at most `length` bytes, for which there is room, and returns how many.
    unsafe {
        let read = __http_read(body.as_mut_ptr(), length);
        body.set_len(usize::try_from(read).unwrap_or(0).min(length));
    }
    Some(Response { status, body })
}

/// Sends a request whose response has at most `max_bytes`, else the function traps. `None` if there is no
/// response.
///
/// The host is not told how large the buffer is. It ends where the memory ends, so that the host cannot write behind
/// it.
pub(crate) fn send_within(request: &Request, max_bytes: usize) -> Option<Response> {
    const PAGE: usize = 64 << 10;
    let Request { method, url, body, .. } = request;
    let headers = request.headers_text();
    let (mut status, mut length) = (0, 0);
    // Nothing allocates from here to the call.
    let end = match wasm32::memory_grow(0, max_bytes.div_ceil(PAGE)) {
        usize::MAX => panic!("there is no memory for a response of {max_bytes} bytes"),
        _ => wasm32::memory_size(0) * PAGE,
    };
    let buffer = core::ptr::without_provenance_mut::<u8>(end - max_bytes);
    // SAFETY: the host reads the bytes of the slices, writes status and length, and at most `max_bytes` into pages
    // that nobody else uses.
    unsafe {
        __http_request(
            buffer,
            &mut length,
            &mut status,
            method.number(),
            url.as_ptr(),
            url.len(),
            headers.as_ptr(),
            headers.len(),
            body.as_ptr(),
            body.len(),
        );
        (status != 0).then(|| {
            let length = usize::try_from(length).unwrap_or(max_bytes).min(max_bytes);
            Response { status, body: core::slice::from_raw_parts(buffer, length).to_vec() }
        })
    }
}
