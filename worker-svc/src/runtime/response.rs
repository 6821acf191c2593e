//! What a function says that ended by itself.

use bytes::Bytes;
use serde::de::IgnoredAny;
use wasmtime_wasi::I32Exit;

use super::entry::Entry;
use super::excerpt;
use super::host::{Console, Guest};
use crate::error::Error;
use crate::outcome::Outcome;

/// Bytes that are quoted of a response that is not valid JSON.
const QUOTED_BYTES: usize = 80;
/// The maximum length of a function's error message, in bytes.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// The outcome of a function that returned `value`.
pub(super) fn returned(entry: &Entry, guest: &mut Guest, value: i32) -> Result<Outcome, Error> {
    match (entry, value) {
        (Entry::Invoke(_), 0) => match guest.take_response() {
            Some(response) => json(response),
            None => Err(Error::BadResponse("the function returned no response".into())),
        },
        (Entry::Command(_), 0) => match guest.take_output() {
            output if output.is_empty() => {
                Err(Error::BadResponse("the function wrote no response to its standard output".into()))
            }
            output => json(output),
        },
        (_, 1) => Ok(Outcome::FunctionError(bounded(guest.take_error()))),
        _ => Err(Error::BadReturnValue(value)),
    }
}

/// The function's error message, cut if it is long: it must fit into the messages of the mesh and into logs.
fn bounded(message: String) -> String {
    if message.len() <= MAX_ERROR_BYTES {
        return message;
    }
    let beginning = excerpt::beginning(message.as_bytes(), MAX_ERROR_BYTES);
    format!("{beginning} ({} bytes in all)", message.len())
}

/// The outcome of a function that exited with a code that means failure: the end of its standard error.
pub(super) fn exited(code: i32, console: &Console) -> Outcome {
    let said = console.tail();
    Outcome::FunctionError(if said.is_empty() { format!("exited with code {code}") } else { said })
}

/// Checks that a response is one JSON value, without building it: no depth exhausts the stack.
fn json(response: Bytes) -> Result<Outcome, Error> {
    let wrong = |what: String| {
        let quoted = excerpt::beginning(&response, QUOTED_BYTES);
        Error::BadResponse(format!("the function's response is not valid JSON: {what} in {quoted:?}"))
    };
    let text = std::str::from_utf8(&response)
        .map_err(|error| wrong(format!("not UTF-8 at byte {}", error.valid_up_to())))?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| wrong(error.to_string()))?;
    Ok(Outcome::Result(response))
}

/// The code that a guest exited with, if it did.
pub(super) fn exit_code(error: &wasmtime::Error) -> Option<i32> {
    error.downcast_ref::<I32Exit>().map(|exit| exit.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_error_messages_are_cut_and_marked() {
        assert_eq!(bounded("short".into()), "short");
        let cut = bounded("é".repeat(3 << 20));
        assert!(cut.len() < MAX_ERROR_BYTES + 50, "{}", cut.len());
        assert!(cut.ends_with("é… (6291456 bytes in all)"), "{}", &cut[cut.len() - 50..]);
    }

    #[test]
    fn responses() {
        let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
        for good in [&b"null"[..], b" 1 \n", b"\"x\"", b"[1e999]", b"{\"a\":18446744073709551617}", &deep] {
            let response = Bytes::copy_from_slice(good);
            assert_eq!(json(response.clone()), Ok(Outcome::Result(response)));
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
            assert_eq!(json(Bytes::from_static(bad)), Err(Error::BadResponse(expected)));
        }
    }
}
