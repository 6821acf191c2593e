//! The interface between the host and FunLess functions.

use mesh::Reason;
use mesh::hash::Hash;
use proto::worker::v1::execution_client::ExecutionClient;

use crate::support::guests::{compile, echo, funless, funless_with, respond};
use crate::support::{Worker, assert_failed, function_error, outcome, request, result};

#[tokio::test]
async fn a_result_is_what_the_function_wrote_byte_for_byte() {
    let worker = Worker::start().await;
    for args in ["{\"b\": 1.0e2, \"a\":12345678901234567890}", " [] ", "\"è\"", "null"] {
        assert_eq!(worker.run(&echo(), args).await, result(args));
    }
    assert_eq!(worker.run(&echo(), "").await, result("{}"), "no arguments are an empty object");
}

#[tokio::test]
async fn a_function_built_with_the_published_sdk_runs_unchanged() {
    let worker = Worker::start().await;
    let hello = worker.registry.add_code(include_bytes!("../../../guest/hello.wasm").as_slice().into());
    let end = worker.execute(request(hello, "{\"name\":\"FunLess\"}")).await;
    assert_eq!(end, result("{\"payload\":\"Hello FunLess!\"}"));
}

#[tokio::test]
async fn arguments_of_8_000_000_bytes_come_through_a_socket() {
    let worker = Worker::start_with(|config| config.output_bytes = 8_000_000).await;
    let grow = "(drop (memory.grow (i32.const 128)))
        (call $input (i32.const 1024))
        (call $respond (i32.const 1024) (local.get $len))
        (i32.const 0)";
    let args = format!("\"{}\"", "x".repeat(8_000_000 - 2));
    let request = worker.request(&funless("", grow), &args);
    let served = worker.serve().await;
    let mut client =
        ExecutionClient::new(served.channel()).max_decoding_message_size(mesh::MAX_MESSAGE_BYTES);
    assert_eq!(outcome(client.execute(request).await), result(&args));
}

#[tokio::test]
async fn the_last_response_counts() {
    let worker = Worker::start().await;
    let wat = funless(
        "12345",
        "(call $respond (i32.const 0) (i32.const 1))
         (call $fail (i32.const 0) (i32.const 1))
         (call $respond (i32.const 1) (i32.const 2))
         (i32.const 0)",
    );
    assert_eq!(worker.run(&wat, "").await, result("23"));
}

#[tokio::test]
async fn a_function_returns_its_own_errors() {
    let worker = Worker::start().await;
    let failing = |message: &[u8]| {
        let data: String = message.iter().map(|byte| format!("\\{byte:02x}")).collect();
        let call = format!("(call $fail (i32.const 0) (i32.const {})) (i32.const 1)", message.len());
        funless_with(&format!("(data (i32.const 0) \"{data}\")"), &call)
    };
    assert_eq!(worker.run(&failing(b"no such user"), "").await, function_error("no such user"));
    assert_eq!(worker.run(&failing(b"\xff!"), "").await, function_error("\u{fffd}!"));
    assert_eq!(worker.run(&funless("", "(i32.const 1)"), "").await, function_error(""));
}

#[tokio::test]
async fn missing_and_invalid_responses_are_failures() {
    let worker = Worker::start().await;
    let returns = |value: i32| funless("", &format!("(i32.const {value})"));
    let cases = [
        (returns(0), Reason::GuestBadResponse, "the function returned no response"),
        (returns(7), Reason::GuestExited, "the function returned 7, where 0 means success"),
        (returns(-1), Reason::GuestExited, "the function returned -1"),
        (
            respond("{"),
            Reason::GuestBadResponse,
            "not valid JSON: EOF while parsing an object at line 1 column 1",
        ),
        (respond(""), Reason::GuestBadResponse, "not valid JSON: EOF while parsing a value"),
        (
            respond("hello\n"),
            Reason::GuestBadResponse,
            r#"not valid JSON: expected value at line 1 column 1 in "hello\n""#,
        ),
    ];
    for (wat, reason, words) in cases {
        assert_failed(worker.run(&wat, "").await, reason, words);
    }
}

#[tokio::test]
async fn each_invocation_gets_a_fresh_instance() {
    let worker = Worker::start().await;
    // Counts up in its memory, in a global and in memory that it grew, and responds with the sum.
    let wat = funless_with(
        "(global $calls (mut i32) (i32.const 0)) (data (i32.const 8) \"0\")",
        "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
         (drop (memory.grow (i32.const 1)))
         (i32.store8 (i32.const 131072) (i32.add (i32.load8_u (i32.const 131072)) (i32.const 1)))
         (i32.store8 (i32.const 8)
           (i32.add (i32.load8_u (i32.const 8))
             (i32.add (global.get $calls) (i32.load8_u (i32.const 131072)))))
         (call $respond (i32.const 8) (i32.const 1))
         (i32.const 0)",
    );
    let request = worker.request(&wat, "");
    for _ in 0..20 {
        assert_eq!(worker.execute(request.clone()).await, result("2"));
    }
}

#[tokio::test]
async fn start_functions_run_first() {
    let worker = Worker::start().await;
    let start = "(data (i32.const 0) \"12\") (start $begin)
        (func $begin (call $log (i32.const 0) (i32.const 2)) (i32.store8 (i32.const 0) (i32.const 0x33)))
        (func (export \"_initialize\") (i32.store8 (i32.const 1) (i32.const 0x34)))";
    let wat = funless_with(start, "(call $respond (i32.const 0) (i32.const 2)) (i32.const 0)");
    assert_eq!(worker.run(&wat, "").await, result("34"));
}

#[tokio::test]
async fn host_calls_of_a_function_without_memory_trap() {
    let worker = Worker::start().await;
    let wat = r#"(module
        (import "fl_imps" "__console_log" (func $log (param i32 i32)))
        (func (export "__invoke") (param i32) (result i32)
          (call $log (i32.const 0) (i32.const 0)) (i32.const 0)))"#;
    let words = "__console_log was called by a function that exports no memory";
    assert_failed(worker.run(wat, "").await, Reason::GuestTrapped, words);
}

#[tokio::test]
async fn unusable_code_is_explained() {
    let worker = Worker::start().await;
    let cases = [
        ("(module)", "it exports neither __invoke nor _start"),
        (r#"(module (func (export "__invoke")))"#, "its export __invoke is not a function that takes an i32"),
        (r#"(module (func (export "_start") (param i32)))"#, "its export _start is not a function without"),
        (
            r#"(module (import "env" "there_is_no_such" (func)) (func (export "_start")))"#,
            "`env::there_is_no_such`",
        ),
        (
            r#"(module (import "fl_imps" "__console_log" (func)) (func (export "_start")))"#,
            "`fl_imps::__console_log`",
        ),
        (r#"(module (memory 1000) (func (export "_start")))"#, "memory"),
    ];
    for (wat, words) in cases {
        assert_failed(worker.run(wat, "").await, Reason::CodeUnusable, words);
    }
    let garbage = worker.registry.add_code("no wasm at all".into());
    assert_failed(worker.execute(request(garbage, "")).await, Reason::CodeUnusable, "magic");
}

#[tokio::test]
async fn requests_without_a_code_hash_are_refused() {
    let worker = Worker::start().await;
    let mut without = request(Hash::of(b""), "");
    without.code = None;
    let mut short = request(Hash::of(b""), "");
    short.code.as_mut().expect("code").hash = vec![1, 2, 3].into();
    for wrong in [without, short] {
        assert_failed(worker.execute(wrong).await, Reason::BadRequest, "code.hash");
    }
    // Code is recognised by its exports, whatever kind the request names.
    let mut other_kind = request(worker.registry.add_code(compile(&respond("1"))), "");
    other_kind.code.as_mut().expect("code").kind = 0;
    assert_eq!(worker.execute(other_kind).await, result("1"));
}
