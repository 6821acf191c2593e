//! Fetching, compiling and caching of code.

use futures::future::join_all;
use mesh::Reason;
use mesh::testing::eventually;

use crate::support::guests::{compile, echo, respond};
use crate::support::registry::Registry;
use crate::support::{Worker, artifacts, assert_failed, cache_dir, request, result};

#[tokio::test]
async fn code_is_fetched_and_compiled_once() {
    let worker = Worker::start_with(|config| config.max_concurrent = 200).await;
    worker.registry.hold_back();
    let request = worker.request(&echo(), "1");
    let calls = join_all((0..100).map(|_| worker.execute(request.clone())));
    let release = async {
        eventually("all wait", || async { worker.running() == 100.0 }).await;
        worker.registry.release();
    };
    let (ends, ()) = tokio::join!(calls, release);
    assert!(ends.into_iter().all(|end| end == result("1")));
    assert_eq!(worker.registry.fetches(), 1);
    assert_eq!(worker.compiled(), 1.0);
    assert_eq!(worker.found("registry"), 1.0);

    assert_eq!(worker.execute(request).await, result("1"));
    assert_eq!(worker.found("memory"), 1.0);
}

#[tokio::test]
async fn preparation_continues_when_its_caller_goes_away() {
    let worker = Worker::start().await;
    worker.registry.hold_back();
    let request = worker.request(&echo(), "1");
    let (mut client, first) = (worker.client(), request.clone());
    let first = tokio::spawn(async move { client.execute(first).await });
    eventually("it is fetched", || async { worker.registry.fetches() == 1 }).await;
    first.abort();
    assert!(first.await.is_err_and(|error| error.is_cancelled()));
    worker.registry.release();
    assert_eq!(worker.execute(request).await, result("1"));
    assert_eq!(worker.registry.fetches(), 1);
}

#[tokio::test]
async fn compiled_code_survives_a_restart() {
    let worker = Worker::start().await;
    let hash = worker.registry.put_function("f", compile(&echo()));
    assert_eq!(worker.execute(request(hash, "1")).await, result("1"));
    let (registry, cache) = worker.stop().await;

    let worker = Worker::start_in(registry, cache, |_| {}).await;
    assert_eq!(worker.execute(request(hash, "1")).await, result("1"));
    assert_eq!((worker.found("disk"), worker.compiled(), worker.registry.fetches()), (1.0, 0.0, 1));
    let (registry, cache) = worker.stop().await;

    let [artifact] = artifacts(cache.path()).try_into().expect("one artifact");
    let mut bytes = std::fs::read(&artifact).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&artifact, bytes).expect("writable");
    let worker = Worker::start_in(registry, cache, |_| {}).await;
    assert_eq!(worker.execute(request(hash, "1")).await, result("1"), "what is damaged is made again");
    assert_eq!((worker.compiled(), worker.registry.fetches()), (1.0, 2));
}

#[tokio::test]
async fn compiled_code_of_another_function_is_refused() {
    let worker = Worker::start().await;
    let [one, other] = ["1", "2"].map(|text| worker.registry.put_function(text, compile(&respond(text))));
    for (hash, text) in [(one, "1"), (other, "2")] {
        assert_eq!(worker.execute(request(hash, "")).await, result(text));
    }
    let (registry, cache) = worker.stop().await;
    let of = |hash: mesh::hash::Hash| {
        let mut all = artifacts(cache.path()).into_iter();
        all.find(|path| path.to_string_lossy().contains(&hash.to_string())).expect("an artifact")
    };
    std::fs::rename(of(other), of(one)).expect("ours");

    let worker = Worker::start_in(registry, cache, |_| {}).await;
    for (hash, text) in [(one, "1"), (other, "2")] {
        assert_eq!(worker.execute(request(hash, "")).await, result(text));
    }
    assert_eq!(worker.compiled(), 2.0);
}

#[tokio::test]
async fn compiled_code_works_without_the_registry() {
    let worker = Worker::start().await;
    let kept = request(worker.registry.put_function("f", compile(&echo())), "1");
    assert_eq!(worker.execute(kept.clone()).await, result("1"));
    let new = worker.request(&respond("2"), "");
    let (registry, cache) = worker.stop().await;
    drop(registry);

    let away = |config: &mut worker_svc::Config| config.registry = crate::support::nowhere();
    let worker = Worker::start_in(Registry::start().await, cache, away).await;
    assert_eq!(worker.execute(kept).await, result("1"));
    let error = worker.execute(new).await.expect_err("no registry");
    assert!(error.reason == Reason::Unavailable && error.not_started(), "{error:?}");
    assert!(error.message.contains("the function's code cannot be fetched"), "{error}");
}

#[tokio::test]
async fn code_with_another_hash_is_refused() {
    let worker = Worker::start().await;
    let hash = worker.registry.add_code(compile(&respond("1")));
    worker.registry.tamper(hash, compile(&respond("2")));
    assert_failed(
        worker.execute(request(hash, "")).await,
        Reason::CodeUnusable,
        "does not have the code's hash",
    );
    assert!(artifacts(worker.cache.path()).is_empty());
}

#[tokio::test]
async fn missing_code_is_fetched_again() {
    let worker = Worker::start().await;
    let code = compile(&respond("1"));
    let hash = worker.registry.add_code(code.clone());
    worker.registry.remove_code(hash);
    assert_failed(worker.execute(request(hash, "")).await, Reason::CodeNotFound, "not in the registry");
    worker.registry.add_code(code);
    assert_eq!(worker.execute(request(hash, "")).await, result("1"));
}

#[tokio::test]
async fn broken_code_is_not_compiled_for_each_call() {
    let worker = Worker::start().await;
    let hash = worker.registry.add_code("broken".into());
    for _ in 0..5 {
        assert_failed(worker.execute(request(hash, "")).await, Reason::CodeUnusable, "magic");
    }
    assert_eq!(worker.registry.fetches(), 1);
}

#[tokio::test]
async fn code_is_prepared_before_the_first_invocation_and_removed_after_use() {
    let worker = Worker::start().await;
    let old = worker.registry.put_function("f", compile(&respond("1")));
    eventually("it is prepared", || async { worker.found("registry") == 1.0 }).await;
    assert_eq!(worker.execute(request(old, "")).await, result("1"));
    assert_eq!((worker.found("disk"), worker.compiled()), (1.0, 1.0));

    let new = worker.registry.put_function("f", compile(&respond("2")));
    eventually("the update is prepared", || async { worker.found("registry") == 2.0 }).await;
    assert_eq!(worker.execute(request(new, "")).await, result("2"));
    eventually("the old artifact is gone", || async { artifacts(worker.cache.path()).len() == 1 }).await;

    worker.registry.delete_function("f");
    eventually("no artifact is left", || async { artifacts(worker.cache.path()).is_empty() }).await;
}

#[tokio::test]
async fn a_small_memory_cache_evicts_the_least_recently_used_code() {
    let worker = Worker::start_with(|config| config.module_cache_bytes = 0).await;
    let request = worker.request(&echo(), "1");
    for _ in 0..3 {
        assert_eq!(worker.execute(request.clone()).await, result("1"));
    }
    assert_eq!((worker.found("registry"), worker.found("disk"), worker.compiled()), (1.0, 2.0, 1.0));
}

#[tokio::test]
async fn artifacts_that_no_snapshot_uses_are_removed() {
    let worker = Worker::start().await;
    let hash = worker.registry.put_function("f", compile(&echo()));
    assert_eq!(worker.execute(request(hash, "1")).await, result("1"));
    let (registry, cache) = worker.stop().await;
    assert_eq!(artifacts(cache.path()).len(), 1);
    registry.delete_function("f");
    let worker = Worker::start_in(registry, cache, |_| {}).await;
    eventually("it is removed", || async { artifacts(worker.cache.path()).is_empty() }).await;
}

#[tokio::test]
async fn a_cache_that_others_may_write_to_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let cache = cache_dir();
    std::fs::set_permissions(cache.path(), std::fs::Permissions::from_mode(0o777)).expect("ours");
    let host = mesh::testing::host("worker");
    let config =
        worker_svc::Config { cache_dir: cache.path().into(), max_concurrent: 2, ..Default::default() };
    let error = worker_svc::App::start(config, host).await.expect_err("refused").to_string();
    assert!(error.contains("cache_dir: ") && error.contains("writable by no other"), "{error}");
}
