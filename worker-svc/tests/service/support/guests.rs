//! Functions as WebAssembly text.

use bytes::Bytes;

/// Compiles WebAssembly text.
pub fn compile(wat: &str) -> Bytes {
    wat::parse_str(wat).expect("well-formed text").into()
}

/// A FunLess function with two pages of memory, its input's length in `$len`, and these further `fields`.
pub fn funless_with(fields: &str, body: &str) -> String {
    format!(
        r#"(module
          (import "fl_imps" "__get_input_data" (func $input (param i32)))
          (import "fl_imps" "__insert_response" (func $respond (param i32 i32)))
          (import "fl_imps" "__insert_error" (func $fail (param i32 i32)))
          (import "fl_imps" "__console_log" (func $log (param i32 i32)))
          (import "fl_imps" "__http_request"
            (func $http (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
          (import "fl_imps" "__http_send"
            (func $send (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
          (import "fl_imps" "__http_read" (func $read (param i32 i32) (result i32)))
          (memory (export "memory") 2)
          {fields}
          (func (export "__invoke") (param $len i32) (result i32) {body}))"#
    )
}

/// A FunLess function that starts with `data` at address 0 of its memory.
pub fn funless(data: &str, body: &str) -> String {
    let data: String = data.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    funless_with(&format!(r#"(data (i32.const 0) "{data}")"#), body)
}

/// Responds with its arguments.
pub fn echo() -> String {
    funless(
        "",
        "(call $input (i32.const 1024))
         (call $respond (i32.const 1024) (local.get $len))
         (i32.const 0)",
    )
}

/// Responds with `response`.
pub fn respond(response: &str) -> String {
    funless(response, &format!("(call $respond (i32.const 0) (i32.const {})) (i32.const 0)", response.len()))
}

/// Never returns.
pub fn spin() -> String {
    funless("", "(loop $again (br $again)) (i32.const 0)")
}

/// Allocates memory until that fails, then traps, like Rust's allocator.
pub fn hog() -> String {
    funless(
        "",
        "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable",
    )
}

/// Grows its memory by `pages` and never returns; traps if it gets no memory.
pub fn hold(pages: u32) -> String {
    let grow = format!("(if (i32.eq (memory.grow (i32.const {pages})) (i32.const -1)) (then unreachable))");
    funless("", &format!("{grow} (loop $again (br $again)) (i32.const 0)"))
}

/// A WASI command with two pages of memory that starts with `data` at address 0.
pub fn command(data: &str, body: &str) -> String {
    let data: String = data.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    format!(
        r#"(module
          (import "wasi_snapshot_preview1" "fd_read"
            (func $fd_read (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_write"
            (func $fd_write (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (memory (export "memory") 2)
          (data (i32.const 0) "{data}")
          ;; Writes `len` bytes at `ptr` to `fd`, with its vector at address 60000.
          (func $write (param $fd i32) (param $ptr i32) (param $len i32)
            (i32.store (i32.const 60000) (local.get $ptr))
            (i32.store (i32.const 60004) (local.get $len))
            (if (call $fd_write (local.get $fd) (i32.const 60000) (i32.const 1) (i32.const 60008))
              (then unreachable)))
          (func (export "_start") {body}))"#
    )
}

/// Rewrites `locals` locals in `loops` nested loops, which costs the compiler far more than it is long.
pub fn nested_loops(loops: usize, locals: usize) -> String {
    let rewrite = |local: usize| format!("(local.set {local} (i32.add (local.get {local}) (i32.const 1)))");
    let body: String = (1..=locals).map(rewrite).collect();
    funless(
        "",
        &format!(
            "(local {}) {} {body} {} (i32.const 0)",
            "i32 ".repeat(locals),
            "(loop ".repeat(loops),
            "(br_if 0 (local.get 1)))".repeat(loops),
        ),
    )
}
