//! Counters that are exact while many invocations come and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::{join_all, select_all};
use mesh::testing::eventually;
use mesh::{Error, Reason};
use proto::registry::v1::Function;
use proto::scheduler::v1::InvokeRequest;
use proto::scheduler::v1::invocations_client::InvocationsClient;

use super::tagged;
use crate::support::{Behaviour, Stage, function, invocation_of, patient};

const SCRIPT: &str = "\
- t:
  - workers: [limited]
    invalidate: {max_concurrent_invocations: 3}
  - workers: [other]
";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_limit_of_three_admits_no_fourth() {
    let stage = Stage::start().await;
    let (limited, other) = (stage.worker("limited", 1 << 20).await, stage.worker("other", 1 << 20).await);
    limited.behave(Behaviour::Hold);
    other.behave(Behaviour::Hold);
    stage.registry.put_script("s", SCRIPT);
    let revision = stage.registry.put(tagged("f", "t", "s"));
    let invoke = || {
        let channel = stage.channel.clone();
        tokio::spawn(
            async move { InvocationsClient::new(channel).invoke(invocation_of("f", revision)).await },
        )
    };
    let calls: Vec<_> = (0..50).map(|_| invoke()).collect();
    eventually("all run", || async { limited.running() + other.running() == 50 }).await;
    assert_eq!((limited.running(), other.running()), (3, 47));
    // A place that becomes free is taken again, by one.
    limited.let_go(1);
    let (ended, _, calls) = select_all(calls).await;
    ended.expect("no panic").expect("invoked");
    let more = [invoke(), invoke()];
    eventually("two more run", || async { limited.running() + other.running() == 51 }).await;
    assert_eq!((limited.running(), other.running()), (3, 48));
    limited.let_go(3);
    other.let_go(48);
    for call in calls.into_iter().chain(more) {
        call.await.expect("no panic").expect("invoked");
    }
    assert_eq!((limited.most_at_once(), limited.received().len()), (3, 4));
}

#[tokio::test]
async fn a_busy_module_leaves_places_for_others() {
    let mut config = patient();
    config.server.max_concurrent = 12;
    let stage = Stage::start_with(config).await;
    let worker = stage.worker("a", 1 << 20).await;
    worker.behave(Behaviour::Hold);
    stage.registry.put(function("f"));
    let revision = stage.registry.put(Function { module: "other".into(), ..function("g") });
    let invoke = |request| {
        let channel = stage.channel.clone();
        tokio::spawn(async move { InvocationsClient::new(channel).invoke(request).await })
    };
    // The worker's stream is a call, too.
    let busy: Vec<_> = (0..10).map(|_| invoke(invocation_of("f", revision))).collect();
    eventually("they run", || async { worker.running() == 10 }).await;
    let refused =
        invoke(invocation_of("f", revision)).await.expect("no panic").expect_err("its share is used");
    let refused = Error::from(refused);
    assert_eq!(refused.reason, Reason::Overloaded);
    assert!(refused.message.contains("module _ uses its share"), "{refused}");
    assert!(refused.not_started() && refused.retry_after.is_some());
    let other = invoke(InvokeRequest { module: "other".into(), ..invocation_of("g", revision) });
    eventually("the other module's runs", || async { worker.running() == 11 }).await;
    worker.let_go(11);
    for call in busy.into_iter().chain([other]) {
        call.await.expect("no panic").expect("invoked");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn limits_hold_while_invocations_come_and_go() {
    const CALLERS: usize = 50;
    const CALLS: usize = 20;
    let stage = Stage::start().await;
    let (limited, other) = (stage.worker("limited", 1 << 20).await, stage.worker("other", 1 << 20).await);
    limited.behave(Behaviour::Hold);
    stage.registry.put_script("s", SCRIPT);
    let revision = stage.registry.put(tagged("f", "t", "s"));
    let busy = Arc::new(AtomicUsize::new(CALLERS));
    let callers = (0..CALLERS).map(|_| {
        let (channel, busy) = (stage.channel.clone(), Arc::clone(&busy));
        tokio::spawn(async move {
            let mut client = InvocationsClient::new(channel);
            for _ in 0..CALLS {
                client.invoke(invocation_of("f", revision)).await.expect("invoked");
            }
            busy.fetch_sub(1, Ordering::Relaxed);
        })
    });
    let callers: Vec<_> = callers.collect();
    // Those who are held keep their places; each that is let go makes room for one more.
    while busy.load(Ordering::Relaxed) > 0 {
        eventually("three are held, or the last ones are", || async {
            limited.running() == busy.load(Ordering::Relaxed).min(3)
        })
        .await;
        limited.let_go(1);
    }
    for outcome in join_all(callers).await {
        outcome.expect("no panic");
    }
    assert_eq!(limited.most_at_once(), 3);
    let (there, elsewhere) = (limited.received().len(), other.received().len());
    assert_eq!(there + elsewhere, CALLERS * CALLS);
    assert!(there > 10, "places were taken again: {there}");
}
