//! What a function says that ended by itself.

use wasmtime_wasi::I32Exit;

use super::entry::Entry;
use super::excerpt;
use super::host::{Console, Guest};
use super::json_check::JsonCheck;
use super::time_slices::{MUCH_WORK_BYTES, SliceEnd};
use crate::budget::{HeldBytes, Reservation};
use crate::error::Error;
use crate::outcome::Outcome;

/// Bytes that are quoted of a response that is not valid JSON.
const QUOTED_BYTES: usize = 80;
/// The maximum length of a function's error message, in bytes.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// What a function says, and what the worker holds for it.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) outcome: Outcome,
    /// `None`: next to nothing.
    pub(crate) reservation: Option<Reservation>,
}

/// What a function says that returned `value`. It is checked in time slices, like those that the function had.
pub(super) async fn returned(
    entry: &Entry,
    guest: &mut Guest,
    value: i32,
    slice_end: &SliceEnd,
) -> Result<Response, Error> {
    match (entry, value) {
        (Entry::Invoke(_), 0) => match guest.take_response() {
            Some(response) => json(response, slice_end).await,
            None => Err(Error::BadResponse("the function returned no response".into())),
        },
        (Entry::Command(_), 0) => match guest.take_output().filter(|output| !output.is_empty()) {
            Some(output) => json(output, slice_end).await,
            None => Err(Error::BadResponse("the function wrote no response to its standard output".into())),
        },
        (_, 1) => Ok(function_error(guest.take_error())),
        _ => Err(Error::BadReturnValue(value)),
    }
}

fn function_error(message: Option<HeldBytes>) -> Response {
    let Some(message) = message else { return Outcome::FunctionError(String::new()).into() };
    let outcome = Outcome::FunctionError(bounded(&message));
    let (whole, mut reservation) = message.into_parts();
    drop(whole);
    reservation.keep(MAX_ERROR_BYTES);
    Response { outcome, reservation: Some(reservation) }
}

/// The function's error message, cut if it is long: it must fit into the messages of the mesh and into logs.
fn bounded(message: &[u8]) -> String {
    let text = excerpt::beginning(message, MAX_ERROR_BYTES);
    if message.len().max(text.len()) <= MAX_ERROR_BYTES {
        return text;
    }
    // What replaces bytes that are not UTF-8 is longer than they are.
    let beginning = excerpt::beginning(text.as_bytes(), MAX_ERROR_BYTES);
    format!("{beginning} ({} bytes in all)", message.len())
}

/// The outcome of a function that exited with a code that means failure: the end of its standard error.
pub(super) fn exited(code: i32, console: &Console) -> Outcome {
    let said = console.tail();
    Outcome::FunctionError(if said.is_empty() { format!("exited with code {code}") } else { said })
}

/// Checks that a response is one JSON value, without building it.
async fn json(response: HeldBytes, slice_end: &SliceEnd) -> Result<Response, Error> {
    let mut check = JsonCheck::new(&response);
    loop {
        match check.advance(MUCH_WORK_BYTES) {
            Ok(true) => break,
            Ok(false) => slice_end.before_work_on(MUCH_WORK_BYTES).await,
            Err(mistake) => {
                let quoted = excerpt::beginning(&response, QUOTED_BYTES);
                let what = format!("the function's response is not valid JSON: {mistake} in {quoted:?}");
                return Err(Error::BadResponse(what));
            }
        }
    }
    let (response, reservation) = response.into_parts();
    Ok(Response { outcome: Outcome::Result(response), reservation: Some(reservation) })
}

impl From<Outcome> for Response {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, reservation: None }
    }
}

/// The code that a guest exited with, if it did.
pub(super) fn exit_code(error: &wasmtime::Error) -> Option<i32> {
    error.downcast_ref::<I32Exit>().map(|exit| exit.0)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use bytes::Bytes;

    use super::*;
    use crate::budget::tests::budget;

    #[test]
    fn long_error_messages_are_cut_and_marked() {
        assert_eq!(bounded(b"short"), "short");
        for (long, end) in [
            ("é".repeat(3 << 20).as_bytes(), "é… (6291456 bytes in all)"),
            (&[0xff; MAX_ERROR_BYTES], "\u{fffd}… (65536 bytes in all)"),
        ] {
            let cut = bounded(long);
            assert!(cut.len() < MAX_ERROR_BYTES + 50, "{}", cut.len());
            assert!(cut.ends_with(end), "{}", &cut[cut.len() - 50..]);
        }
    }

    /// Polls the check of a response until it ends. Returns what it found, and how often it let others run.
    fn checked(response: &[u8]) -> (Result<Outcome, Error>, usize) {
        let (held, slice_end) = (HeldBytes::copy(&budget(1 << 30), response), SliceEnd::default());
        let mut check = pin!(json(held.expect("there is memory"), &slice_end));
        let mut context = Context::from_waker(Waker::noop());
        for yields in 0.. {
            if let Poll::Ready(end) = check.as_mut().poll(&mut context) {
                return (end.map(|response| response.outcome), yields);
            }
            assert!(slice_end.take(), "it asks for another slice");
        }
        unreachable!("a check ends")
    }

    #[test]
    fn responses() {
        let deep = [b"[".repeat(10_000), b"]".repeat(10_000)].concat();
        for good in [&b"null"[..], b" 1 \n", b"\"x\"", b"[1e999]", b"{\"a\":18446744073709551617}", &deep] {
            assert_eq!(checked(good), (Ok(Outcome::Result(Bytes::copy_from_slice(good))), 0));
        }
        const LONG: &[u8] = &[b'x'; 1000];
        let long = format!("expected value at line 1 column 1 in \"{}…\"", "x".repeat(80));
        let cases: [(&[u8], &str); 6] = [
            (b"", r#"EOF while parsing a value at line 1 column 0 in """#),
            (b"{]", r#"key must be a string at line 1 column 2 in "{]""#),
            (b"1 2", r#"trailing characters at line 1 column 3 in "1 2""#),
            (b"\"\xff\"", "not UTF-8 at byte 1 in \"\\\"\u{fffd}\\\"\""),
            (b"hello\r\n\x1b\"", r#"expected value at line 1 column 1 in "hello\r\n\u{1b}\"""#),
            (LONG, &long),
        ];
        for (bad, expected) in cases {
            let expected = format!("the function's response is not valid JSON: {expected}");
            assert_eq!(checked(bad), (Err(Error::BadResponse(expected)), 0));
        }
    }

    #[test]
    fn the_check_of_a_long_response_lets_others_run() {
        let five_mib = [b"\"", &*b"x".repeat((5 << 20) - 2), b"\""].concat();
        assert_eq!(checked(&five_mib), (Ok(Outcome::Result(five_mib.into())), 79));
        let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
        assert_eq!(checked(&deep), (Ok(Outcome::Result(deep.into())), 3));
    }
}
