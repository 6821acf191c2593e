//! Components as WebAssembly text.

use super::guests::compile;
use bytes::Bytes;

/// The interfaces of WASI 0.2 that these components import, with as much of them as they use.
const INTERFACES: &str = include_str!("interfaces.wat");

/// A component that handles HTTP requests: a module with three pages of memory that starts with `data` at address 0,
/// these further `fields`, and `body`, which gets the request in `$request` and the place for a response in `$out`.
///
/// - `(call $args)` reads the body of the request to address 131072, and returns its length.
/// - `(call $respond $out status ptr len)` responds.
/// - `(call $fetch path len)` sends a GET to the port in `authority`, and returns the status of the response; if there
///   is none, 0, with the number of the error in `$error`.
pub fn handler_with(data: &str, authority: &str, fields: &str, body: &str) -> Bytes {
    let escaped = |text: &str| text.bytes().map(|byte| format!("\\{byte:02x}")).collect::<String>();
    let text = INTERFACES
        .replace(";; DATA", &format!(r#"(data (i32.const 0) "{}")"#, escaped(data)))
        .replace(";; AUTHORITY", &format!(r#"(data (i32.const 61440) "{}")"#, escaped(authority)))
        .replace("AUTHORITY_LEN", &authority.len().to_string())
        .replace(";; FIELDS", fields)
        .replace(";; BODY", body);
    compile(&text)
}

/// A component that handles HTTP requests.
pub fn handler(data: &str, body: &str) -> Bytes {
    handler_with(data, "", "", body)
}

/// Responds with its arguments.
pub fn echo() -> Bytes {
    handler(
        "",
        "(call $respond (local.get $out) (i32.const 200) (i32.const 131072) (call $args (local.get $request)))",
    )
}

/// Responds with `data`.
pub fn respond(status: u16, data: &str) -> Bytes {
    let body = format!(
        "(call $respond (local.get $out) (i32.const {status}) (i32.const 0) (i32.const {}))",
        data.len()
    );
    handler(data, &body)
}

/// A command of WASI 0.2, whose `body` returns 0 for success, or 1.
///
/// - `(call $copy)` copies standard input to standard output.
/// - `(call $say)` writes "out of tea" to standard error.
/// - `(call $exit code)` exits with 0, or 1 for anything else.
pub fn command(body: &str) -> Bytes {
    compile(&include_str!("command.wat").replace(";; BODY", body))
}
