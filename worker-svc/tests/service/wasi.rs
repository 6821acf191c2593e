//! WASI commands, and FunLess functions that import WASI.

use mesh::Reason;
use proto::worker::v1::execute_response::Outcome;

use crate::support::guests::{command, funless_with};
use crate::support::{Worker, assert_failed, function_error, result};

/// Copies stdin to stdout, 1000 bytes at a time.
fn echo() -> String {
    command(
        "",
        "(loop $again
           (i32.store (i32.const 50000) (i32.const 1024))
           (i32.store (i32.const 50004) (i32.const 1000))
           (if (call $fd_read (i32.const 0) (i32.const 50000) (i32.const 1) (i32.const 50008))
             (then unreachable))
           (if (i32.load (i32.const 50008)) (then
             (call $write (i32.const 1) (i32.const 1024) (i32.load (i32.const 50008)))
             (br $again))))",
    )
}

#[tokio::test]
async fn arguments_on_stdin_and_the_result_on_stdout() {
    let worker = Worker::start().await;
    let long = format!("[\"{}\"]\n", "x".repeat(100_000));
    for args in ["{\"a\":1}", long.as_str()] {
        assert_eq!(worker.run(&echo(), args).await, result(args));
    }
    assert_eq!(worker.run(&echo(), "").await, result("{}"));
}

#[tokio::test]
async fn exit_codes() {
    let worker = Worker::start().await;
    let exits = |code: i32| {
        command(
            "42",
            &format!(
                "(call $write (i32.const 1) (i32.const 0) (i32.const 2)) (call $exit (i32.const {code}))"
            ),
        )
    };
    assert_eq!(worker.run(&exits(0), "").await, result("42"));
    for code in [1, 3, 125] {
        let expected = function_error(&format!("exited with code {code}"));
        assert_eq!(worker.run(&exits(code), "").await, expected);
    }
    assert_eq!(worker.metric("funless_worker_invocations_total", Some("function_error")), 3.0);
}

#[tokio::test]
async fn a_command_that_fails_says_why_on_stderr() {
    let worker = Worker::start().await;
    let said = command(
        "first\nno such file \n",
        "(call $write (i32.const 2) (i32.const 0) (i32.const 20)) (call $exit (i32.const 2))",
    );
    assert_eq!(worker.run(&said, "").await, function_error("first\nno such file"));

    // More than the log takes, and than is quoted.
    let much = command(
        &format!("{}☕ is the end", "x".repeat(50_000)),
        "(call $write (i32.const 2) (i32.const 0) (i32.const 50014))
         (call $write (i32.const 2) (i32.const 0) (i32.const 50014)) (call $exit (i32.const 1))",
    );
    let Ok(Outcome::FunctionError(message)) = worker.run(&much, "").await else { panic!("it exits with 1") };
    assert!(message.starts_with("…xxx") && message.ends_with("xxx☕ is the end"), "{message}");
    assert_eq!(message.chars().filter(|c| *c == '☕').count(), 1);
    assert_eq!(message.len(), 2048 + "…".len());
}

#[tokio::test]
async fn a_command_that_traps_is_not_a_function_error() {
    let worker = Worker::start().await;
    let wat = command("oh no", "(call $write (i32.const 2) (i32.const 0) (i32.const 5)) unreachable");
    assert_failed(worker.run(&wat, "").await, Reason::GuestTrapped, "the function trapped: ");
}

#[tokio::test]
async fn missing_invalid_and_oversized_outputs() {
    let worker = Worker::start().await;
    let silent = command("", "");
    assert_failed(worker.run(&silent, "").await, Reason::GuestBadResponse, "wrote no response");
    let text = command("hello", "(call $write (i32.const 1) (i32.const 0) (i32.const 5))");
    let words = r#"is not valid JSON: expected value at line 1 column 1 in "hello""#;
    assert_failed(worker.run(&text, "").await, Reason::GuestBadResponse, words);
    let endless = command(
        "hello",
        "(loop $again (call $write (i32.const 1) (i32.const 0) (i32.const 50000)) (br $again))",
    );
    let words = "the function's output is larger than its limit of 1048576 bytes";
    assert_failed(worker.run(&endless, "").await, Reason::GuestOutputLimit, words);
}

#[tokio::test]
async fn a_command_that_exits_for_lack_of_memory_is_a_memory_limit_error() {
    let worker = Worker::start().await;
    let wat = command(
        "",
        "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
         (call $exit (i32.const 2))",
    );
    let words = "more memory than its limit of 16777216 bytes";
    assert_failed(worker.run(&wat, "").await, Reason::GuestMemoryLimit, words);
}

#[tokio::test]
async fn a_command_has_no_arguments_environment_or_files() {
    let worker = Worker::start().await;
    // Traps unless there are no arguments, no environment and no directory.
    let wat = r#"(module
        (import "wasi_snapshot_preview1" "args_sizes_get" (func $args (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "environ_sizes_get" (func $env (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_prestat_get" (func $dir (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 100) "true")
        (data (i32.const 200) "\64\00\00\00\04\00\00\00")
        (func (export "_start")
          (drop (call $args (i32.const 0) (i32.const 4)))
          (drop (call $env (i32.const 8) (i32.const 12)))
          (if (i32.or (i32.load (i32.const 0)) (i32.load (i32.const 8))) (then unreachable))
          (if (i32.ne (call $dir (i32.const 3) (i32.const 16)) (i32.const 8)) (then unreachable))
          (drop (call $fd_write (i32.const 1) (i32.const 200) (i32.const 1) (i32.const 208)))))"#;
    assert_eq!(worker.run(wat, "").await, result("true"));
}

#[tokio::test]
async fn a_funless_function_may_import_wasi() {
    let worker = Worker::start().await;
    let wat = funless_with(
        "(data (i32.const 0) \"7\")",
        "(call $respond (i32.const 0) (i32.const 1)) (i32.const 0)",
    );
    let wat = wat.replacen(
        "(module",
        r#"(module (import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32)))"#,
        1,
    );
    assert_eq!(worker.run(&wat, "").await, result("7"));
}

#[tokio::test]
async fn a_funless_function_that_exits_is_a_function_error() {
    let worker = Worker::start().await;
    let exit = r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))"#;
    let wat = funless_with("", "(call $exit (i32.const 7)) (i32.const 0)").replacen("(module", exit, 1);
    assert_eq!(worker.run(&wat, "").await, function_error("exited with code 7"));
}
