//! Code that costs the compiler too much, and whose turn it is.

use std::path::Path;
use std::process::Stdio;

use mesh::Reason;
use mesh::testing::eventually;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::guests::{compile, echo, nested_loops, respond};
use crate::support::registry::Registry;
use crate::support::{Worker, assert_failed, cache_dir, nowhere, request, result};

/// The memory for a compilation that takes more CPU time than any test has. Each test has its own number, by which it
/// finds its processes.
const MEMORY: u64 = 1 << 30;
/// Gigabytes of the compiler's memory in 300 KB.
const MEMORY_BOMB: (usize, usize) = (300, 20_000);
/// Minutes of the compiler's time in 20 KB.
const CPU_BOMB: (usize, usize) = (300, 1_000);

fn bomb((loops, locals): (usize, usize)) -> bytes::Bytes {
    compile(&nested_loops(loops, locals))
}

/// A bomb of a subject who has several.
fn another_bomb(number: usize) -> bytes::Bytes {
    bomb((CPU_BOMB.0, CPU_BOMB.1 + number))
}

/// The processes that compile with so much memory.
fn compilers(memory_bytes: u64) -> Vec<Pid> {
    let job = format!("\"memory_bytes\":{memory_bytes},");
    let processes = std::fs::read_dir("/proc").expect("the processes").flatten();
    let ids = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
    let compiles = |id: &i32| {
        let arguments = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&arguments).contains(&job)
    };
    ids.filter(compiles).filter_map(Pid::from_raw).collect()
}

async fn number_of_compilers(memory_bytes: u64, number: usize) {
    let what = format!("{number} processes compile");
    eventually(&what, || async { compilers(memory_bytes).len() == number }).await;
}

fn failed(worker: &Worker, reason: &str) -> f64 {
    worker.metric("funless_worker_failed_compilations_total", Some(reason))
}

/// The most memory that this process has ever had, in KB.
fn peak_rss_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("readable");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[tokio::test]
async fn code_that_takes_too_much_memory_fails_alone_and_is_remembered() {
    let limit = |bytes: u64| move |config: &mut worker_svc::Config| config.compile_memory_bytes = bytes;
    let refusal = |bytes: u64| format!("more memory than {bytes} bytes (compile_memory_bytes)");
    let worker = Worker::start_with(limit(64 << 20)).await;
    let hash = worker.registry.put_function("bomb", bomb(MEMORY_BOMB));
    assert_failed(worker.execute(request(hash, "")).await, Reason::CodeUnusable, &refusal(64 << 20));
    assert_eq!(worker.run(&echo(), "1").await, result("1"), "others are compiled");
    assert!(peak_rss_kb() < 1 << 20, "{} KB", peak_rss_kb());
    assert_eq!((failed(&worker, "memory"), worker.registry.fetches()), (1.0, 2));

    let (registry, cache) = worker.stop().await;
    let worker = Worker::start_in(registry, cache, limit(64 << 20)).await;
    assert_failed(worker.execute(request(hash, "")).await, Reason::CodeUnusable, &refusal(64 << 20));
    worker.registry.delete_function("bomb");
    worker.registry.put_function("again", bomb(MEMORY_BOMB));
    assert_failed(worker.execute(request(hash, "")).await, Reason::CodeUnusable, &refusal(64 << 20));
    assert_eq!((failed(&worker, "memory"), worker.registry.fetches()), (0.0, 2), "it is not tried again");

    let (registry, cache) = worker.stop().await;
    let worker = Worker::start_in(registry, cache, limit(65 << 20)).await;
    assert_failed(worker.execute(request(hash, "")).await, Reason::CodeUnusable, &refusal(65 << 20));
    assert_eq!(failed(&worker, "memory"), 1.0, "another limit gives it another try");
}

#[tokio::test]
async fn code_that_takes_too_long_fails() {
    let worker = Worker::start_with(|config| config.compile_cpu_s = 1).await;
    let hash = worker.registry.add_code(bomb(CPU_BOMB));
    let reason = "its compilation needs more CPU time than 1 s (compile_cpu_s)";
    assert_failed(worker.execute(request(hash, "")).await, Reason::CodeUnusable, reason);
    assert_eq!(failed(&worker, "cpu_time"), 1.0);

    let worker = Worker::start_with(|config| config.compile_timeout_ms = 300).await;
    let hash = worker.registry.add_code(bomb(CPU_BOMB));
    let reason = "its compilation took longer than 300 ms (compile_timeout_ms)";
    assert_failed(worker.execute(request(hash, "")).await, Reason::CodeUnusable, reason);
    assert_eq!(failed(&worker, "timeout"), 1.0);
}

#[tokio::test]
async fn nobody_waits_for_anothers_slow_code() {
    const OWN: u64 = MEMORY + 1;
    let worker = Worker::start_with(|config| {
        config.compile_threads = 1;
        config.compile_memory_bytes = OWN;
    })
    .await;
    for number in 0..4 {
        worker.registry.put_function_of("mallory", &number.to_string(), another_bomb(number));
    }
    number_of_compilers(OWN, 1).await;
    worker.registry.put_function_of("ann", "echo", compile(&echo()));
    eventually("it is prepared", || async { worker.found("registry") == 1.0 }).await;
    worker.registry.put_function_of("bob", "respond", compile(&respond("1")));
    eventually("it is prepared", || async { worker.found("registry") == 2.0 }).await;
    assert!(compilers(OWN).len() <= 2, "one that takes long, beside one thread");
    assert_eq!(worker.metric("funless_worker_failed_compilations_total", None), 0.0);

    (0..4).for_each(|number| worker.registry.delete_function(&number.to_string()));
    number_of_compilers(OWN, 0).await;
    assert_eq!(worker.metric("funless_worker_failed_compilations_total", None), 0.0);
}

#[tokio::test]
async fn new_functions_do_not_wait_for_the_backlog() {
    let registry = Registry::start().await;
    let backlog: Vec<_> =
        (0..5).map(|n| registry.put_function(&n.to_string(), compile(&respond(&n.to_string())))).collect();
    registry.hold_back();
    let worker = Worker::start_in(registry, cache_dir(), |config| config.compile_threads = 1).await;
    eventually("the first is fetched", || async { worker.registry.fetches() == 1 }).await;
    let new = worker.registry.put_function("new", compile(&respond("new")));
    let waiting = |priority: &str| worker.metric("funless_worker_code_waiting", Some(priority));
    eventually("all wait", || async { (waiting("awaited"), waiting("background")) == (1.0, 4.0) }).await;
    let first = backlog.iter().position(|hash| *hash == worker.registry.fetched()[0]).expect("one of these");
    worker.registry.delete_function(&first.to_string());
    eventually("the next is fetched", || async { worker.registry.fetches() == 2 }).await;
    assert_eq!(worker.registry.fetched()[1], new);

    let called = backlog[(first + 3) % 5];
    let call = worker.execute(request(called, ""));
    let release = async {
        eventually("somebody waits", || async { waiting("awaited") == 1.0 }).await;
        worker.registry.release();
    };
    let (end, ()) = tokio::join!(call, release);
    assert_eq!(end, result(&((first + 3) % 5).to_string()));
    assert_eq!(worker.registry.fetched()[2], called, "a call waits for it");
    eventually("all are prepared", || async { worker.found("registry") == 5.0 }).await;
}

#[tokio::test]
async fn a_compiler_that_is_killed_fails_that_function_only() {
    const OWN: u64 = MEMORY + 2;
    let limit = |config: &mut worker_svc::Config| config.compile_memory_bytes = OWN;
    let worker = Worker::start_with(limit).await;
    let hash = worker.registry.add_code(bomb(CPU_BOMB));
    let (call, ()) = tokio::join!(worker.execute(request(hash, "")), async {
        number_of_compilers(OWN, 1).await;
        let [compiler] = compilers(OWN)[..] else { panic!("one compiler") };
        let environment = std::fs::read(format!("/proc/{compiler}/environ")).expect("ours");
        assert_eq!(environment, b"", "it has no secrets");
        kill_process(compiler, Signal::KILL).expect("ours");
    });
    assert_failed(call, Reason::CodeUnusable, "its compiler was killed by signal 9");
    assert_eq!(worker.run(&echo(), "1").await, result("1"));

    let (registry, cache) = worker.stop().await;
    let worker = Worker::start_in(registry, cache, limit).await;
    let (mut client, call) = (worker.client(), request(hash, ""));
    let call = tokio::spawn(async move { client.execute(call).await });
    number_of_compilers(OWN, 1).await;
    worker.service.tasks.stop(std::time::Duration::from_secs(5)).await;
    number_of_compilers(OWN, 0).await;
    call.abort();
}

#[tokio::test]
async fn a_compiler_that_does_not_work_is_not_the_codes_fault() {
    for (compiler, words) in [("/nonexistent", "cannot run /nonexistent"), ("/bin/true", "exit status: 0")] {
        let broken = |config: &mut worker_svc::Config| config.compiler = Some(Path::new(compiler).into());
        let worker = Worker::start_with(broken).await;
        let hash = worker.registry.put_function("f", compile(&echo()));
        let error = worker.execute(request(hash, "1")).await.expect_err(words);
        assert_eq!(error.reason, Reason::Internal, "{error}");
        assert!(failed(&worker, "platform") >= 1.0);
        let (registry, cache) = worker.stop().await;
        let worker = Worker::start_in(registry, cache, |_| {}).await;
        assert_eq!(worker.execute(request(hash, "1")).await, result("1"));
    }
}

#[tokio::test]
async fn a_compiler_ends_with_its_worker() {
    const OWN: u64 = MEMORY + 3;
    let (registry, cache) = (Registry::start().await, cache_dir());
    registry.put_function("bomb", bomb(CPU_BOMB));
    let settings = [
        "server.listen=127.0.0.1:0".to_owned(),
        "server.insecure=true".to_owned(),
        "server.admin_listen=off".to_owned(),
        format!("registry={}", registry.endpoint()),
        format!("schedulers=[\"{}\"]", nowhere()),
        format!("cache_dir={}", cache.path().display()),
        format!("compile_memory_bytes={OWN}"),
    ];
    let mut worker = std::process::Command::new(env!("CARGO_BIN_EXE_worker-svc"))
        .args(settings.iter().flat_map(|setting| ["--set", setting]))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("the worker's program");
    number_of_compilers(OWN, 1).await;
    worker.kill().expect("it runs");
    worker.wait().expect("it has ended");
    number_of_compilers(OWN, 0).await;
}
