//! Functions: compiled from Rust by `cargo xtask guests`, and small ones written here.

use std::fmt::Write as _;

use crate::process::repository;

/// Returns `{"payload":"Hello N!"}` for `{"name":N}`; fails without a name.
pub fn hello() -> Vec<u8> {
    compiled("hello")
}

/// Returns its input.
pub fn echo() -> Vec<u8> {
    compiled("echo")
}

/// Written with the published SDK of FunLess. Returns `{"payload":"Hello N!"}` for `{"name":N}`, and for `url` what
/// it gets for a POST of `this`: `{"status":...,"body":...}`. Fails without both.
pub fn published_sdk() -> Vec<u8> {
    compiled("published-sdk")
}

/// Calls the given `url` and returns `{"status":...,"body":...}`.
pub fn http_caller() -> Vec<u8> {
    compiled("http-caller")
}

/// Panics with the given `message` at [`PANICS_AT`].
pub fn panics() -> Vec<u8> {
    compiled("panics")
}

/// The source location at which [`panics`] panics.
pub const PANICS_AT: &str = "panics/src/lib.rs:14:5";

fn compiled(name: &str) -> Vec<u8> {
    let path = repository().join(format!("target/guests/{name}.wasm"));
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run scripts/test or cargo xtask guests", path.display()))
}

/// Returns these bytes.
pub fn responding(response: &[u8]) -> Vec<u8> {
    guest(response, "(call $insert_response (global.get $data) (global.get $len)) (i32.const 0)")
}

/// Returns its input, byte for byte.
pub fn mirror() -> Vec<u8> {
    guest(
        b"",
        "(drop (memory.grow (i32.const 256)))
        (call $get_input_data (i32.const 65536))
        (call $insert_response (i32.const 65536) (local.get 0))
        (i32.const 0)",
    )
}

/// Logs its input and returns it.
pub fn logging() -> Vec<u8> {
    guest(
        b"",
        "(call $get_input_data (i32.const 2048))
        (call $console_log (i32.const 2048) (local.get 0))
        (call $insert_response (i32.const 2048) (local.get 0))
        (i32.const 0)",
    )
}

/// Returns how often this instance has been invoked, as one digit.
pub fn counting() -> Vec<u8> {
    guest(
        b"0",
        "(i32.store8 (global.get $data) (i32.add (i32.load8_u (global.get $data)) (i32.const 1)))
        (call $insert_response (global.get $data) (i32.const 1))
        (i32.const 0)",
    )
}

/// Fails with this message.
pub fn failing(message: &[u8]) -> Vec<u8> {
    guest(message, "(call $insert_error (global.get $data) (global.get $len)) (i32.const 1)")
}

/// Returns `value` from `__invoke` without a response.
pub fn returning(value: i32) -> Vec<u8> {
    guest(b"", &format!("(i32.const {value})"))
}

/// Never returns.
pub fn spinning() -> Vec<u8> {
    guest(b"", "(loop $forever (br $forever)) (unreachable)")
}

/// Counts to this number, which takes about a nanosecond for each step, and returns null.
pub fn computing(steps: u32) -> Vec<u8> {
    guest(
        b"null",
        &format!(
            "(local $step i32)
            (loop $more
                (local.set $step (i32.add (local.get $step) (i32.const 1)))
                (br_if $more (i32.lt_u (local.get $step) (i32.const {steps}))))
            (call $insert_response (global.get $data) (global.get $len))
            (i32.const 0)"
        ),
    )
}

/// Logs lines of 1000 characters forever.
pub fn flooding_log() -> Vec<u8> {
    guest(
        &[b'x'; 1000],
        "(loop $forever (call $console_log (global.get $data) (global.get $len)) (br $forever)) (unreachable)",
    )
}

/// Traps immediately.
pub fn trapping() -> Vec<u8> {
    guest(b"", "(unreachable)")
}

/// Grows its memory until that fails, and then traps.
pub fn memory_hungry() -> Vec<u8> {
    guest(
        b"",
        "(loop $more
            (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then (unreachable)))
            (br $more))
        (unreachable)",
    )
}

/// Recurses forever.
pub fn recursing() -> Vec<u8> {
    guest(b"", "(call $invoke (i32.add (local.get 0) (i32.const 1))) (drop) (i32.const 0)")
}

/// Passes a response that is outside its memory.
pub fn responding_from_nowhere(address: i32, length: i32) -> Vec<u8> {
    guest(b"", &format!("(call $insert_response (i32.const {address}) (i32.const {length})) (i32.const 0)"))
}

/// Requests its input at an address outside its memory.
pub fn reading_to_nowhere() -> Vec<u8> {
    guest(b"", "(call $get_input_data (i32.const -4)) (i32.const 0)")
}

/// Returns a JSON string of `mib` MiB.
pub fn answering_much(mib: u32) -> Vec<u8> {
    let pages = mib * 16 + 1;
    guest(
        b"",
        &format!(
            "(local $size i32)
            (local.set $size (i32.const {size}))
            (drop (memory.grow (i32.const {pages})))
            (memory.fill (i32.const 65536) (i32.const 0x61) (local.get $size))
            (i32.store8 (i32.const 65536) (i32.const 0x22))
            (i32.store8 (i32.add (i32.const 65535) (local.get $size)) (i32.const 0x22))
            (call $insert_response (i32.const 65536) (local.get $size))
            (i32.const 0)",
            size = mib << 20
        ),
    )
}

/// Cannot be instantiated within its limits: its initial memory is 4 GiB.
pub fn born_too_large() -> Vec<u8> {
    compile(
        "(module (memory (export \"memory\") 65536) (func (export \"__invoke\") (param i32) (result i32) (i32.const 0)))",
    )
}

/// Takes a compiler minutes: a thousand locals change in a hundred loops inside each other.
pub fn compiler_bomb() -> Vec<u8> {
    let changes: String =
        (1..=1000).map(|local| format!("(local.set {local} (local.get {local}))")).collect();
    guest(
        b"",
        &format!(
            "(local {}) {} {changes} {} (i32.const 0)",
            "i32 ".repeat(1000),
            "(loop ".repeat(100),
            "(br_if 0 (local.get 0)))".repeat(100)
        ),
    )
}

/// Loops forever in its start function, before it is invoked.
pub fn spinning_at_start() -> Vec<u8> {
    compile(
        "(module (memory (export \"memory\") 1) (func $start (loop $forever (br $forever))) (start $start)
            (func (export \"__invoke\") (param i32) (result i32) (i32.const 0)))",
    )
}

/// Imports a function that no host provides.
pub fn importing_the_unknown() -> Vec<u8> {
    compile(
        "(module (import \"fl_imps\" \"__launch_missiles\" (func)) (memory (export \"memory\") 1)
            (func (export \"__invoke\") (param i32) (result i32) (i32.const 0)))",
    )
}

/// Exports nothing to invoke.
pub fn without_exports() -> Vec<u8> {
    compile("(module (memory 1))")
}

/// A WASI command that writes this to its standard output.
pub fn wasi_command(output: &[u8]) -> Vec<u8> {
    wasi(1, output, 0)
}

/// A WASI command that writes this to its standard error and exits with this code.
pub fn wasi_exiting(code: i32, message: &[u8]) -> Vec<u8> {
    wasi(2, message, code)
}

/// A WASI command that writes `text` to the file descriptor `fd` and exits with `code`.
fn wasi(fd: u8, text: &[u8], code: i32) -> Vec<u8> {
    compile(&format!(
        "(module
            (import \"wasi_snapshot_preview1\" \"proc_exit\" (func $proc_exit (param i32)))
            (import \"wasi_snapshot_preview1\" \"fd_write\"
                (func $fd_write (param i32 i32 i32 i32) (result i32)))
            (memory (export \"memory\") 1)
            (data (i32.const 0) \"\\40\\00\\00\\00{length}\")
            (data (i32.const 64) \"{text}\")
            (func (export \"_start\")
                (drop (call $fd_write (i32.const {fd}) (i32.const 0) (i32.const 1) (i32.const 32)))
                (call $proc_exit (i32.const {code}))))",
        length = escape(&u32::try_from(text.len()).expect("a short text").to_le_bytes()),
        text = escape(text)
    ))
}

/// A module with all imports, `data` at `$data` with its length in `$len`, and `body` as `__invoke`,
/// which can call itself as `$invoke`.
fn guest(data: &[u8], body: &str) -> Vec<u8> {
    let (text, len) = (escape(data), data.len());
    compile(&format!(
        "(module
            (import \"fl_imps\" \"__get_input_data\" (func $get_input_data (param i32)))
            (import \"fl_imps\" \"__insert_response\" (func $insert_response (param i32 i32)))
            (import \"fl_imps\" \"__insert_error\" (func $insert_error (param i32 i32)))
            (import \"fl_imps\" \"__console_log\" (func $console_log (param i32 i32)))
            (memory (export \"memory\") 1)
            (global $data i32 (i32.const 1024))
            (global $len i32 (i32.const {len}))
            (data (i32.const 1024) \"{text}\")
            (func $invoke (export \"__invoke\") (param i32) (result i32) {body}))"
    ))
}

fn escape(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "\\{byte:02x}");
        text
    })
}

fn compile(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("a test guest does not compile: {error}"))
}
