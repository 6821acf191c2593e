//! Callers that ask for a revision.

use std::time::Duration;

use bytes::Bytes;
use mesh::deadline::Deadline;
use mesh::testing::eventually;
use mesh::{Error, Reason};
use proto::log::v1::TailLogsRequest;
use proto::scheduler::v1::cluster_client::ClusterClient;
use proto::scheduler::v1::explain_request::Decision as Asked;
use proto::scheduler::v1::invocations_client::InvocationsClient;
use proto::scheduler::v1::logs_client::LogsClient;
use proto::scheduler::v1::policies_client::PoliciesClient;
use proto::scheduler::v1::simulate_request::Policy;
use proto::scheduler::v1::{
    AwaitCodeRequest, DefaultPolicy, ExplainRequest, HypotheticalInvocation, InvokeRequest, SimulateRequest,
};
use tonic::Request;

use crate::support::{HASH, Stage, function, invocation_of};

/// The outcomes of all calls that take a revision, with this timeout.
async fn all(stage: &Stage, revision: u64, timeout: Duration) -> Vec<(&'static str, Result<(), Error>)> {
    fn within<T>(timeout: Duration, message: T) -> Request<T> {
        Deadline::after(timeout).attach(message)
    }
    let channel = || stage.channel.clone();
    let (module, function) = (String::from("_"), String::from("f"));
    let asked = HypotheticalInvocation {
        module: module.clone(),
        function: function.clone(),
        min_revision: revision,
        ..HypotheticalInvocation::default()
    };
    let explain = ExplainRequest { decision: Some(Asked::Now(asked)) };
    let logs = TailLogsRequest { module, function, min_revision: revision, ..TailLogsRequest::default() };
    let simulate = SimulateRequest {
        policy: Some(Policy::DefaultPolicy(DefaultPolicy {})),
        min_revision: revision,
        ..SimulateRequest::default()
    };
    let code = AwaitCodeRequest { hash: Bytes::from_static(HASH), min_revision: revision };
    let (mut invocations, mut policies) = (InvocationsClient::new(channel()), PoliciesClient::new(channel()));
    let (mut logs_of, mut cluster) = (LogsClient::new(channel()), ClusterClient::new(channel()));
    let mut simulations = policies.clone();
    let (invoked, explained, simulated, read, awaited) = tokio::join!(
        invocations.invoke(within(timeout, invocation_of("f", revision))),
        policies.explain(within(timeout, explain)),
        simulations.simulate(within(timeout, simulate)),
        logs_of.tail_logs(within(timeout, logs)),
        cluster.await_code(within(timeout, code)),
    );
    vec![
        ("invoke", invoked.map(drop).map_err(Error::from)),
        ("explain", explained.map(drop).map_err(Error::from)),
        ("simulate", simulated.map(drop).map_err(Error::from)),
        ("logs", read.map(drop).map_err(Error::from)),
        ("await code", awaited.map(drop).map_err(Error::from)),
    ]
}

/// A scheduler that knows the function `f`, and its revision.
async fn stage() -> (Stage, u64) {
    let stage = Stage::start().await;
    let revision = stage.registry.put(function("f"));
    eventually("it is known", || async {
        stage.metric("funless_scheduler_catalog_revision") == revision as f64
    })
    .await;
    (stage, revision)
}

const LONG: Duration = Duration::from_secs(600);

#[tokio::test]
async fn a_revision_that_has_not_been_given_out_is_refused() {
    let (stage, _) = stage().await;
    for (what, outcome) in all(&stage, 99_999, LONG).await {
        let error = outcome.expect_err(what);
        assert_eq!(error.reason, Reason::BadRequest, "{what}: {error}");
        assert_eq!(error.message, "revision 99999 has not been given out: the newest is 1", "{what}");
    }
}

#[tokio::test]
async fn a_revision_that_is_on_its_way_is_waited_for() {
    let (stage, revision) = stage().await;
    let _worker = stage.worker("w", 1000).await;
    let next = revision + 1;
    let tell = stage.registry.put_silently(function("f"));
    let waiting = tokio::spawn({
        let channel = stage.channel.clone();
        async move { InvocationsClient::new(channel).invoke(invocation_of("f", next)).await }
    });
    let at_once = InvocationsClient::new(stage.channel.clone()).invoke(invocation_of("f", revision)).await;
    at_once.expect("an old revision is not waited for");
    assert!(!waiting.is_finished());
    assert_eq!(tell(), next);
    waiting.await.expect("no panic").expect("invoked once the catalog had it");
}

#[tokio::test]
async fn a_wait_in_vain_says_what_was_waited_for() {
    let (stage, revision) = stage().await;
    let _tell = stage.registry.put_silently(function("f"));
    for (what, outcome) in all(&stage, revision + 1, Duration::from_secs(1)).await {
        let error = outcome.expect_err(what);
        assert_eq!(error.reason, Reason::RevisionNotReached, "{what}: {error}");
        let says = |words: &str| error.message.contains(words);
        assert!(says("waited ") && says(" s for revision 2; this scheduler is at revision 1"), "{error}");
    }
}

#[tokio::test]
async fn a_registry_that_is_away_is_named() {
    let (stage, revision) = stage().await;
    stage.registry.set_silent(true);
    let soon = Duration::from_secs(1);
    for (what, outcome) in all(&stage, revision + 1, soon).await {
        let error = outcome.expect_err(what);
        assert_eq!(error.reason, Reason::RevisionNotReached, "{what}: {error}");
        let words = " s for revision 2; the registry cannot be reached, and this scheduler is at revision 1";
        assert!(error.message.contains(words), "{what}: {error}");
    }
    let _worker = stage.worker("w", 1000).await;
    stage.invoke(invocation_of("f", revision)).await.expect("an old revision needs no registry");
    let latest = InvokeRequest { latest_revision: revision + 1, ..invocation_of("f", revision) };
    stage.invoke(latest.clone()).await.expect("nobody can catch up");
    stage.registry.set_silent(false);
    let refused = stage.invoke(invocation_of("f", 7)).await.expect_err("it is back");
    assert_eq!(refused.reason, Reason::BadRequest, "{refused}");
    let refused = stage.invoke(latest).await.expect_err("it is back");
    assert_eq!(refused.reason, Reason::BadRequest, "{refused}");
}
