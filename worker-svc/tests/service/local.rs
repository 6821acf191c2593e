//! A worker without a mesh.

use std::time::Duration;

use mesh::receipt::Receipt;
use mesh::{Reason, testing};
use proto::registry::v1::{Code, Limits};
use proto::worker::v1::ExecuteRequest;
use tempfile::TempDir;
use worker_svc::{Config, Execution, LocalWorker, LogLines};

use crate::support::guests::{compile, echo, funless, spin};
use crate::support::{assert_failed, cache_dir, function_error, result};

fn start(cache: &TempDir) -> LocalWorker {
    let config = Config {
        cache_dir: cache.path().into(),
        max_concurrent: 4,
        // The test is not a worker.
        compiler: Some(env!("CARGO_BIN_EXE_worker-svc").into()),
        ..Config::default()
    };
    LocalWorker::start(&config, &testing::host("worker")).expect("the worker starts")
}

fn request(code: Code, args: &'static str) -> ExecuteRequest {
    let (module, function) = ("_".into(), "f".into());
    ExecuteRequest { module, function, code: Some(code), args: args.into(), ..ExecuteRequest::default() }
}

#[tokio::test]
async fn code_is_executed_as_on_any_worker() {
    let cache = cache_dir();
    let worker = start(&cache);
    let code = worker.give(compile(&echo()));
    let Execution { outcome, receipt } = worker.execute(request(code.clone(), "[1.0]")).await;
    assert_eq!(outcome, result("[1.0]"));
    let Receipt { compile_us, total_us, in_bytes, .. } = receipt;
    assert!(compile_us > 0 && total_us >= compile_us, "{receipt:?}");
    assert_eq!(in_bytes, 5);

    let failing = funless("no", "(call $fail (i32.const 0) (i32.const 2)) (i32.const 1)");
    let failing = worker.give(compile(&failing));
    assert_eq!(worker.execute(request(failing, "{}")).await.outcome, function_error("no"));
    let spinning = worker.give(compile(&spin()));
    let limits = Some(Limits { timeout_ms: 50, ..Limits::default() });
    let ended = worker.execute(ExecuteRequest { limits, ..request(spinning, "{}") }).await;
    assert_failed(ended.outcome, Reason::DeadlineExceeded, "time limit of 50 ms");
    let unusable = worker.give(compile("(module)"));
    let ended = worker.execute(request(unusable, "{}")).await;
    assert_failed(ended.outcome, Reason::CodeUnusable, "__invoke");
    worker.stop().await;

    let again = start(&cache);
    again.give(compile(&echo()));
    let Execution { outcome, receipt } = again.execute(request(code, "2")).await;
    assert_eq!((outcome, receipt.compile_us), (result("2"), 0), "the artifact is on disk");
}

#[tokio::test]
async fn what_functions_log_is_read_while_they_run() {
    let cache = cache_dir();
    let worker = start(&cache);
    let code = worker.give(compile(&funless(
        "hello",
        "(call $log (i32.const 0) (i32.const 5)) (loop $again (br $again)) (i32.const 0)",
    )));
    let mut log = worker.log();
    let logged = tokio::select! {
        lines = log.next() => lines,
        ended = worker.execute(request(code, "{}")) => panic!("it ended: {ended:?}"),
        () = tokio::time::sleep(Duration::from_secs(20)) => panic!("nothing was logged"),
    };
    assert_eq!(logged, LogLines { lines: vec!["hello".into()], missed: 0 });
    assert_eq!(log.read(), LogLines::default());
}
