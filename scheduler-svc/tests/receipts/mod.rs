//! What an invocation cost, as the scheduler tells it.

use std::time::Duration;

use mesh::receipt::{self, Receipt};
use proto::registry::v1::Binding;
use proto::registry::v1::Function;
use proto::scheduler::v1::invocations_client::InvocationsClient;

use crate::support::{Behaviour, Stage, function, invocation_of};

/// Invokes `f` and gives the receipt, however it ended.
async fn receipt_of(stage: &Stage, revision: u64) -> Receipt {
    match InvocationsClient::new(stage.channel.clone()).invoke(invocation_of("f", revision)).await {
        Ok(response) => receipt::of(response.metadata()),
        Err(status) => receipt::of(status.metadata()),
    }
}

#[tokio::test]
async fn a_receipt_has_the_costs_of_worker_and_scheduler() {
    let stage = Stage::start().await;
    let revision = stage.registry.put(function("f"));
    let worker = stage.worker("w", 1000).await;
    worker.spends(Receipt {
        run_us: 7,
        cpu_us: 5,
        http_requests: 3,
        worker: "x".into(),
        ..Receipt::default()
    });
    for behaviour in [Behaviour::Answer, Behaviour::Trap] {
        worker.behave(behaviour);
        let receipt = receipt_of(&stage, revision).await;
        assert_eq!((receipt.run_us, receipt.cpu_us, receipt.http_requests), (7, 5, 3));
        assert_eq!((&*receipt.worker, receipt.attempts), ("w", 1), "who ran it, the scheduler says");
        assert!(!receipt.decision_id.is_empty() && receipt.total_us > 0, "{receipt:?}");
        assert!(receipt.schedule_us <= receipt.total_us, "{receipt:?}");
    }
}

#[tokio::test]
async fn a_receipt_counts_attempts() {
    let stage = Stage::start().await;
    let revision = stage.registry.put(function("f"));
    let nobody = receipt_of(&stage, revision).await;
    assert_eq!((nobody.attempts, &*nobody.worker), (0, ""));
    assert!(!nobody.decision_id.is_empty(), "a decision for none is one, too");
    let full = stage.worker("a", 2000).await;
    full.behave(Behaviour::Overloaded);
    let _free = stage.worker("b", 1000).await;
    let receipt = receipt_of(&stage, revision).await;
    assert_eq!((receipt.attempts, &*receipt.worker), (2, "b"));
}

#[tokio::test]
async fn a_receipt_has_the_time_of_delivery_to_sinks() {
    let stage = Stage::start().await;
    let sinks = vec![Binding { id: "s".into(), ..Binding::default() }];
    let revision = stage.registry.put(Function { sinks, ..function("f") });
    let _worker = stage.worker("w", 1000).await;
    let sink = stage.start_sink();
    // It is tried again after a while.
    sink.refuse(mesh::Error::unavailable("not yet"));
    let receipt = receipt_of(&stage, revision).await;
    assert!(Duration::from_micros(receipt.keep_us) >= Duration::from_millis(1), "{receipt:?}");
    assert!(receipt.keep_us <= receipt.total_us, "{receipt:?}");
}
