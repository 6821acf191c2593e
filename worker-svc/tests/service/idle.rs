//! Which code is in memory and on disk.

use futures::future::join_all;
use mesh::hash::Hash;
use mesh::testing::eventually;
use tempfile::TempDir;

use crate::support::guests::{compile, respond};
use crate::support::registry::Registry;
use crate::support::scheduler::Scheduler;
use crate::support::{Worker, artifacts, request, result};

/// Creates functions that respond with their numbers.
fn put_functions(registry: &Registry, count: usize) -> Vec<Hash> {
    let put = |text: String| registry.put_function(&text, compile(&respond(&text)));
    (0..count).map(|number| put(number.to_string())).collect()
}

/// How much code is in this level of the cache.
fn cached(worker: &Worker, level: &str) -> f64 {
    worker.metric("funless_worker_code_cached", Some(level))
}

fn cached_bytes(worker: &Worker, level: &str) -> f64 {
    worker.metric("funless_worker_code_cached_bytes", Some(level))
}

/// How often code was loaded from disk.
fn loads(worker: &Worker) -> f64 {
    worker.metric("funless_worker_code_phase_seconds", Some("load"))
}

async fn call(worker: &Worker, functions: &[Hash], number: usize) {
    assert_eq!(worker.execute(request(functions[number], "")).await, result(&number.to_string()));
}

async fn on_disk(worker: &Worker, count: usize) {
    eventually("the code is on disk", || async { cached(worker, "disk") == count as f64 }).await;
}

/// The artifacts of so many functions, and their size.
async fn prepared(count: usize) -> (Registry, TempDir, Vec<Hash>, u64) {
    let worker = Worker::start().await;
    let functions = put_functions(&worker.registry, count);
    on_disk(&worker, count).await;
    let bytes = cached_bytes(&worker, "disk") as u64;
    let (registry, cache) = worker.stop().await;
    (registry, cache, functions, bytes)
}

/// A configuration with room for so many bytes of artifacts.
fn small_disk(bytes: u64) -> impl Fn(&mut worker_svc::Config) {
    move |config| {
        config.cache_bytes = bytes;
        config.module_cache_bytes = 0;
    }
}

#[tokio::test]
async fn code_is_loaded_at_its_first_call() {
    let worker = Worker::start().await;
    let functions = put_functions(&worker.registry, 3);
    eventually("it is prepared", || async { worker.found("registry") == 3.0 }).await;
    let cached_at = ["memory", "disk"].map(|level| cached(&worker, level));
    assert_eq!(cached_at, [0.0, 3.0], "it is prepared on disk only");
    call(&worker, &functions, 1).await;
    assert_eq!((worker.found("disk"), cached(&worker, "memory")), (1.0, 1.0));
    assert!(cached_bytes(&worker, "memory") > 0.0);
    call(&worker, &functions, 1).await;
    assert_eq!((worker.found("memory"), worker.compiled()), (1.0, 3.0));
}

#[tokio::test]
async fn concurrent_first_calls_load_once() {
    let (registry, cache, functions, _) = prepared(1).await;
    let worker = Worker::start_in(registry, cache, |config| config.max_concurrent = 200).await;
    join_all((0..100).map(|_| call(&worker, &functions, 0))).await;
    assert_eq!((loads(&worker), worker.compiled(), cached(&worker, "memory")), (1.0, 0.0, 1.0));
}

#[tokio::test]
async fn a_restart_loads_only_what_was_in_memory() {
    let (registry, cache, functions, _) = prepared(3).await;
    let worker = Worker::start_in(registry, cache, |_| {}).await;
    call(&worker, &functions, 1).await;
    assert_eq!(loads(&worker), 1.0);
    let (registry, cache) = worker.stop().await;

    let worker = Worker::start_in(registry, cache, |_| {}).await;
    eventually("it is loaded", || async { cached(&worker, "memory") == 1.0 }).await;
    call(&worker, &functions, 1).await;
    assert_eq!(worker.found("memory"), 1.0, "its first call is fast");
    call(&worker, &functions, 2).await;
    assert_eq!((loads(&worker), cached(&worker, "memory")), (2.0, 2.0));
    let (registry, cache) = worker.stop().await;

    let worker = Worker::start_in(registry, cache, |config| config.name = "another".into()).await;
    call(&worker, &functions, 2).await;
    assert_eq!((worker.found("disk"), loads(&worker)), (1.0, 1.0), "another worker loads other code");
}

#[tokio::test]
async fn idle_code_leaves_memory() {
    let worker = Worker::start_with(|config| config.idle_code_s = 1).await;
    let functions = put_functions(&worker.registry, 1);
    call(&worker, &functions, 0).await;
    assert_eq!(cached(&worker, "memory"), 1.0);
    eventually("it is evicted", || async { cached(&worker, "memory") == 0.0 }).await;
    assert_eq!(worker.metric("funless_worker_code_evicted_total", Some("idle")), 1.0);
    let before = worker.found("disk");
    call(&worker, &functions, 0).await;
    assert_eq!((worker.found("disk"), worker.compiled()), (before + 1.0, 1.0));
}

#[tokio::test]
async fn code_without_room_on_disk_is_compiled_at_each_call() {
    let (registry, cache, functions, bytes) = prepared(4).await;
    let dir = tempfile::tempdir().expect("a directory");
    let scheduler = Scheduler::start(dir.path().join("scheduler")).await;
    let endpoint = scheduler.endpoint();
    let half = bytes.div_ceil(2);
    let worker = Worker::start_in(registry, cache, |config| {
        small_disk(half)(config);
        config.schedulers = vec![endpoint];
    })
    .await;
    on_disk(&worker, 2).await;
    assert_eq!(artifacts(worker.cache.path()).len(), 2);
    assert_eq!(worker.metric("funless_worker_code_evicted_total", Some("disk")), 2.0);
    for number in [0, 1, 2, 3, 0] {
        call(&worker, &functions, number).await;
        assert!(cached_bytes(&worker, "disk") as u64 <= half);
    }
    assert!(worker.compiled() >= 2.0, "two had no artifacts: {}", worker.compiled());
    assert_eq!(artifacts(worker.cache.path()).len(), 2);
    let called = functions[0].to_bytes();
    eventually("schedulers know", || async {
        scheduler.has_received(|report| report.code_dropped.contains(&called))
            && scheduler.has_received(|report| report.code_ready.contains(&called))
    })
    .await;
}

#[tokio::test]
async fn preparation_in_the_background_ends_when_the_disk_is_full() {
    let (registry, cache, _, bytes) = prepared(2).await;
    put_functions(&registry, 6);
    let room = bytes.div_ceil(2) * 3;
    let worker = Worker::start_in(registry, cache, small_disk(room)).await;
    let waiting = || worker.metric("funless_worker_code_waiting", None);
    eventually("one is compiled", || async { worker.found("registry") == 1.0 }).await;
    eventually("none waits", || async { waiting() == 0.0 }).await;
    assert_eq!((worker.compiled(), cached(&worker, "disk")), (1.0, 3.0), "there is room for one");

    let new = worker.registry.put_function("6", compile(&respond("6")));
    eventually("what is new is compiled", || async { worker.compiled() == 2.0 }).await;
    on_disk(&worker, 3).await;
    assert_eq!(worker.execute(request(new, "")).await, result("6"));
    assert_eq!(worker.compiled(), 2.0, "it stays on disk");
}
