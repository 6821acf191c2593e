//! Scripts, what is decided by them, and what is said about it.

mod concurrency;

use mesh::testing::eventually;
use mesh::{Caller, DECISION_HEADER, Error, Reason};
use proto::registry::v1::{Function, Metadata, Role};
use proto::scheduler::v1::explain_request::Decision as Asked;
use proto::scheduler::v1::invocations_client::InvocationsClient;
use proto::scheduler::v1::policies_client::PoliciesClient;
use proto::scheduler::v1::scheduling::Language;
use proto::scheduler::v1::{
    AppBlock, AppItem, AppScript, CheckScriptRequest, CheckScriptResponse, Decision, DefaultPolicy,
    ExplainRequest, Explanation, HypotheticalInvocation, InvokeRequest, InvokeResponse, ListDecisionsRequest,
    Scheduling, TimedInvocation, Verdict,
};
use scheduler_svc::Config;
use tonic::{Request, Status};

use crate::support::{Behaviour, Stage, function, invocation_of, memory, patient};

/// A function with a tag and a script of its own. Empty: none.
fn tagged(name: &str, tag: &str, script: &str) -> Function {
    let metadata =
        Metadata { tag: tag.into(), script: script.into(), capacity_kb: 64, ..Metadata::default() };
    Function { metadata: Some(metadata), ..function(name) }
}

fn by_script(script: &str) -> Option<Scheduling> {
    Some(Scheduling { language: Some(Language::AppScript(script.into())) })
}

fn by_default_policy() -> Option<Scheduling> {
    Some(Scheduling { language: Some(Language::DefaultPolicy(DefaultPolicy {})) })
}

/// Invokes `f`.
async fn invoke(
    stage: &Stage,
    scheduling: Option<Scheduling>,
    revision: u64,
) -> Result<InvokeResponse, Status> {
    let request = InvokeRequest { scheduling, ..invocation_of("f", revision) };
    let mut client = InvocationsClient::new(stage.channel.clone());
    client.invoke(request).await.map(tonic::Response::into_inner)
}

async fn worker_of(stage: &Stage, scheduling: Option<Scheduling>, revision: u64) -> String {
    invoke(stage, scheduling, revision).await.expect("invoked").worker
}

async fn explain_as(stage: &Stage, caller: Caller, asked: Asked) -> Result<Explanation, Error> {
    let request = caller.attach(Request::new(ExplainRequest { decision: Some(asked) }));
    let response = PoliciesClient::new(stage.channel.clone()).explain(request).await?;
    Ok(response.into_inner().explanation.expect("has one"))
}

async fn explain(stage: &Stage, id: &str) -> Result<Explanation, Error> {
    explain_as(stage, Caller::Service, Asked::DecisionId(id.into())).await
}

/// What would be decided for `f` now.
fn now(scheduling: Option<Scheduling>, min_revision: u64) -> Asked {
    let (module, function) = ("_".into(), "f".into());
    Asked::Now(HypotheticalInvocation { module, function, scheduling, min_revision })
}

async fn decisions(stage: &Stage, caller: Caller, limit: u32) -> Vec<Decision> {
    let request = caller.attach(Request::new(ListDecisionsRequest { limit }));
    let response = PoliciesClient::new(stage.channel.clone()).list_decisions(request).await;
    response.expect("listed").into_inner().decisions
}

/// The verdicts of an explanation, block by block.
fn verdicts(explanation: &Explanation) -> Vec<Vec<(&str, Verdict)>> {
    let blocks = explanation.items.iter().flat_map(|item| &item.blocks);
    let workers = blocks.map(|block| block.workers.iter());
    workers.map(|workers| workers.map(|worker| (&*worker.worker, worker.verdict())).collect()).collect()
}

#[tokio::test]
async fn a_script_says_where_a_function_runs() {
    let stage = Stage::start().await;
    let _workers = [stage.worker("a", 100).await, stage.worker("b", 200).await, stage.worker("c", 300).await];
    stage.registry.put_script("asked", "- default: [{workers: [a]}]\n- u: [{workers: [c]}]");
    stage.registry.put_script("own", "- t: [{workers: [nobody, b]}]");
    let revision = stage.registry.put(tagged("f", "t", "own"));
    assert_eq!(worker_of(&stage, None, revision).await, "b", "its own script");
    assert_eq!(worker_of(&stage, by_script("asked"), 0).await, "a", "what is asked for counts");
    assert_eq!(worker_of(&stage, by_default_policy(), 0).await, "c", "the default policy is asked for");
    let revision = stage.registry.put_script("own", "- t: [{workers: [c, b]}]");
    assert_eq!(worker_of(&stage, None, revision).await, "c", "the script has changed");
    let revision = stage.registry.put(tagged("f", "u", ""));
    assert_eq!(worker_of(&stage, by_script("asked"), revision).await, "c", "the tag has changed");
    assert_eq!(worker_of(&stage, None, 0).await, "c", "no script: the most memory");
    let revision = stage.registry.put(tagged("f", "t", "absent"));
    let error = Error::from(invoke(&stage, None, revision).await.expect_err("its script is not there"));
    assert_eq!(error.reason, Reason::ScriptNotFound);
    assert!(error.message.contains("absent"), "{error}");
    let broken = "- t: [{workers: [a], strategy: besst-first}]";
    let revision = stage.registry.put_script("absent", broken);
    let error = Error::from(invoke(&stage, None, revision).await.expect_err("it cannot be read"));
    assert_eq!(error.reason, Reason::ScriptUnusable);
    assert!(error.message.contains("tag \"t\", block 1, line 1: unknown strategy"), "{error}");
}

#[tokio::test]
async fn a_refusal_says_why_and_can_be_explained() {
    let stage = Stage::start().await;
    stage.registry.put(tagged("f", "t", ""));
    let revision = stage.registry.put_script("s", "- u: [{workers: [a]}]");
    let valid = stage.registry.put_script("v", "- t: [{workers: [a]}, {workers: [b], affinity: [x]}]");
    let refused = async |script, revision, reason: Reason, words: &str| {
        let status = invoke(&stage, by_script(script), revision).await.expect_err(words);
        let id =
            status.metadata().get(DECISION_HEADER).expect("a decision").to_str().expect("text").to_owned();
        let error = Error::from(status);
        assert_eq!((error.reason, error.message.as_str()), (reason, words));
        assert!(error.not_started());
        explain(&stage, &id).await.expect("explained")
    };
    let nobody = refused("s", revision, Reason::NoWorker, "No worker available").await;
    assert_eq!((&*nobody.refusal, &*nobody.summary), ("no_workers", "no worker: none has joined"));
    let _workers = [stage.worker("a", 63).await, stage.worker("b", 100).await];
    let tag = refused("s", 0, Reason::NoMatchingTag, "no_matching_tag").await;
    assert_eq!((&*tag.refusal, tag.items.len(), &*tag.tag), ("no_matching_tag", 0, "t"));
    let valid = refused("v", valid, Reason::NoValidWorkers, "no_valid_workers").await;
    assert_eq!((&*valid.refusal, &*valid.worker), ("no_valid_workers", ""));
    assert_eq!(verdicts(&valid), [[("a", Verdict::Invalid)], [("b", Verdict::Invalid)]]);
    let reasons: Vec<_> = valid.items[0].blocks.iter().map(|block| &*block.workers[0].reason).collect();
    assert_eq!(reasons, ["has 63 KB available, 64 KB are needed", "runs nothing tagged \"x\" (affinity)"]);

    let before = Error::from(invoke(&stage, by_script("unknown"), 0).await.expect_err("no script"));
    assert_eq!(before.reason, Reason::ScriptNotFound);
    let status = invoke(&stage, by_script("unknown"), 0).await.expect_err("no script");
    assert!(status.metadata().get(DECISION_HEADER).is_none(), "nothing was decided");
}

#[tokio::test]
async fn a_decision_can_be_explained_afterwards() {
    let stage = Stage::start().await;
    let mut a = stage.worker("a", 100).await;
    let _b = stage.worker("b", 200).await;
    stage.registry.put(tagged("f", "t", "s"));
    let revision =
        stage.registry.put_script("s", "- t:\n  - workers: [gone]\n  - workers: [b, a]\n  - workers: \"*\"");
    let response = invoke(&stage, None, revision).await.expect("invoked");
    assert_eq!(response.worker, "b");
    // What is there now, and what the script says now, do not matter.
    a.leave();
    stage.wait_for_workers(&["b"]).await;
    let later = stage.registry.put_script("s", "- t: [{workers: [a]}]");
    let explanation = explain(&stage, &response.decision_id).await.expect("explained");
    assert_eq!(explanation.decision_id, response.decision_id);
    assert_eq!((&*explanation.worker, &*explanation.script, &*explanation.refusal), ("b", "s", ""));
    assert_eq!((&*explanation.module, &*explanation.function, explanation.capacity_kb), ("_", "f", 64));
    assert!(explanation.at_ms > 0);
    let (invalid, not_reached) = (Verdict::Invalid, Verdict::NotReached);
    let expected = [
        vec![("gone", invalid)],
        vec![("b", Verdict::Chosen), ("a", not_reached)],
        vec![("a", not_reached), ("b", not_reached)],
    ];
    assert_eq!(verdicts(&explanation), expected);
    let plain = invoke(&stage, by_default_policy(), later).await.expect("invoked");
    let plain = explain(&stage, &plain.decision_id).await.expect("explained");
    assert_eq!((&*plain.script, &*plain.items[0].tag), ("", ""));
    assert_eq!(plain.summary, "b: the default policy takes the worker with the most memory available");
}

#[tokio::test]
async fn failed_attempts_are_explained() {
    let stage = Stage::start().await;
    let (a, _b) = (stage.worker("a", 100).await, stage.worker("b", 100).await);
    a.behave(Behaviour::Overloaded);
    stage.registry.put(tagged("f", "t", "s"));
    let revision = stage.registry.put_script("s", "- t: [{workers: \"*\"}]");
    let response = invoke(&stage, None, revision).await.expect("invoked");
    assert_eq!(response.worker, "b");
    let explanation = explain(&stage, &response.decision_id).await.expect("explained");
    assert_eq!(verdicts(&explanation), [[("a", Verdict::Invalid), ("b", Verdict::Chosen)]]);
    assert_eq!(
        explanation.items[0].blocks[0].workers[0].reason,
        "an earlier attempt of this invocation failed there"
    );
    let decided: Vec<_> =
        decisions(&stage, Caller::Service, 0).await.into_iter().map(|decision| decision.worker).collect();
    assert_eq!(decided, ["a", "b"], "each attempt is a decision");
    a.behave(Behaviour::Trap);
    let status = invoke(&stage, None, 0).await.expect_err("it traps");
    let id = status.metadata().get(DECISION_HEADER).expect("a decision").to_str().expect("text").to_owned();
    assert_eq!(explain(&stage, &id).await.expect("explained").worker, "a", "where it failed");
}

#[tokio::test]
async fn a_hypothetical_decision_is_the_one_that_is_made() {
    let stage = Stage::start_with(Config { random_seed: Some(7), ..patient() }).await;
    let names = ["a", "b", "c", "d"];
    let mut workers = Vec::new();
    for name in names {
        workers.push(stage.worker(name, 100).await);
    }
    stage.registry.put(tagged("f", "t", ""));
    let revision = stage.registry.put_script("s", "- t: [{workers: \"*\", strategy: random}]");
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let hypothesis = explain_as(&stage, Caller::Service, now(by_script("s"), revision)).await;
        let hypothesis = hypothesis.expect("explained");
        assert_eq!((&*hypothesis.decision_id, &*hypothesis.script), ("", "s"));
        let worker = worker_of(&stage, by_script("s"), 0).await;
        assert_eq!(hypothesis.worker, worker);
        seen.insert(worker);
    }
    assert!(seen.len() > 1, "{seen:?}");
    assert_eq!(workers.iter().map(|worker| worker.received().len()).sum::<usize>(), 20, "nothing else ran");
    assert_eq!(decisions(&stage, Caller::Service, 0).await.len(), 20, "and nothing else was decided");
    for (asked, reason) in [
        (now(by_script("unknown"), 0), Reason::ScriptNotFound),
        (
            Asked::Now(HypotheticalInvocation { module: "_".into(), ..HypotheticalInvocation::default() }),
            Reason::FunctionNotFound,
        ),
    ] {
        assert_eq!(explain_as(&stage, Caller::Service, asked).await.expect_err("not there").reason, reason);
    }
    let nothing = PoliciesClient::new(stage.channel.clone()).explain(ExplainRequest { decision: None }).await;
    assert_eq!(Error::from(nothing.expect_err("nothing is asked")).reason, Reason::InvalidField);
}

#[tokio::test]
async fn decisions_are_forgotten() {
    let stage = Stage::start_with(Config { decisions_kept: 2, ..patient() }).await;
    let _worker = stage.worker("w", 100).await;
    let revision = stage.registry.put(tagged("f", "t", ""));
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(invoke(&stage, None, revision).await.expect("invoked").decision_id);
    }
    for id in [&*ids[0], "", "no id", "0-0"] {
        let error = explain(&stage, id).await.expect_err("forgotten");
        assert_eq!(error.reason, Reason::DecisionNotFound, "{id}");
        assert!(error.message.contains(id), "{error}");
    }
    for id in &ids[1..] {
        explain(&stage, id).await.expect("remembered");
    }
    let listed: Vec<_> =
        decisions(&stage, Caller::Service, 0).await.into_iter().map(|decision| decision.id).collect();
    assert_eq!(listed, ids[1..]);
    let latest: Vec<_> =
        decisions(&stage, Caller::Service, 1).await.into_iter().map(|decision| decision.id).collect();
    assert_eq!(latest, ids[2..]);
}

#[tokio::test]
async fn users_see_only_decisions_on_functions_they_may_invoke() {
    let stage = Stage::start().await;
    let _worker = stage.worker("w", 100).await;
    stage.registry.put(tagged("shared", "t", ""));
    let revision = stage.registry.put(Function { owner: "ann".into(), ..tagged("f", "t", "") });
    let id = invoke(&stage, None, revision).await.expect("invoked").decision_id;
    stage.invoke(invocation_of("shared", 0)).await.expect("invoked");
    let ann = || Caller::Subject("ann".into());
    let bob = || Caller::Subject("bob".into());
    let admin = || Caller::user(Role::Admin, "root".into()).expect("a user");
    for (caller, functions) in
        [(ann(), vec!["f", "shared"]), (bob(), vec!["shared"]), (admin(), vec!["f", "shared"])]
    {
        let listed: Vec<_> = decisions(&stage, caller.clone(), 0)
            .await
            .into_iter()
            .map(|decision| decision.function)
            .collect();
        assert_eq!(listed, functions, "{caller:?}");
        let explained = explain_as(&stage, caller.clone(), Asked::DecisionId(id.clone())).await;
        let hypothetical = explain_as(&stage, caller.clone(), now(None, 0)).await;
        let reasons =
            (explained.map_err(|error| error.reason).err(), hypothetical.map_err(|error| error.reason).err());
        let expected = match functions.len() {
            1 => (Some(Reason::DecisionNotFound), Some(Reason::FunctionNotFound)),
            _ => (None, None),
        };
        assert_eq!(reasons, expected, "{caller:?}");
    }
}

#[tokio::test]
async fn decisions_are_a_load_that_can_be_simulated() {
    let stage = Stage::start().await;
    let worker = stage.worker("w", 100).await;
    worker.behave(Behaviour::Hold);
    stage.registry.put_script("s", "- t: [{workers: [w]}]");
    let revision = stage.registry.put(tagged("f", "t", "s"));
    let call = tokio::spawn({
        let channel = stage.channel.clone();
        async move { InvocationsClient::new(channel).invoke(invocation_of("f", revision)).await }
    });
    eventually("it runs", || async { worker.running() == 1 }).await;
    let refused = invoke(&stage, None, 0).await.expect_err("no memory is left");
    assert_eq!(Error::from(refused).reason, Reason::NoValidWorkers);
    let listed = decisions(&stage, Caller::Service, 0).await;
    let [runs, none] = &listed[..] else { panic!("two decisions: {listed:?}") };
    assert_eq!((&*runs.worker, &*runs.refusal, &*runs.script), ("w", "", "s"));
    assert_eq!((&*none.worker, &*none.refusal, &*none.module), ("", "no_valid_workers", "_"));
    let (first, second) =
        (runs.invocation.clone().expect("a load"), none.invocation.clone().expect("a load"));
    let expected =
        TimedInvocation { tag: "t".into(), capacity_kb: 64, duration_ns: None, at_ns: first.at_ns };
    assert_eq!(first, expected, "it still runs");
    assert!(second.at_ns > first.at_ns && second.duration_ns.is_none(), "{second:?}");
    worker.let_go(1);
    call.await.expect("no panic").expect("invoked");
    let ended = decisions(&stage, Caller::Service, 0).await[0].invocation.clone().expect("a load");
    let now_ns = first.at_ns + ended.duration_ns.expect("it has ended");
    assert!(now_ns > second.at_ns, "it ended after the second one was refused");
}

#[tokio::test]
async fn affinity_and_capacity_count_what_runs_now() {
    let stage = Stage::start().await;
    let (a, b) = (stage.worker("a", 1000).await, stage.worker("b", 1000).await);
    stage.registry.put_script("s", "- cache: [{workers: [a]}]\n- with: [{workers: \"*\", affinity: [cache]}]\n- without: [{workers: \"*\", affinity: [\"!cache\"]}]");
    stage.registry.put(tagged("cache", "cache", "s"));
    stage.registry.put(tagged("with", "with", "s"));
    let revision = stage.registry.put(tagged("f", "without", "s"));
    let with = async || stage.invoke(invocation_of("with", revision)).await.map(|response| response.worker);
    assert_eq!(with().await.map_err(|error| error.reason), Err(Reason::NoValidWorkers));
    assert_eq!(worker_of(&stage, None, 0).await, "a");
    a.behave(Behaviour::Hold);
    let cache = tokio::spawn({
        let channel = stage.channel.clone();
        async move { InvocationsClient::new(channel).invoke(invocation_of("cache", 0)).await }
    });
    eventually("it runs", || async { a.running() == 1 }).await;
    a.behave(Behaviour::Answer);
    assert_eq!(with().await, Ok("a".to_owned()), "beside it");
    assert_eq!(worker_of(&stage, None, 0).await, "b", "away from it");
    a.let_go(1);
    cache.await.expect("no panic").expect("invoked");
    assert_eq!(with().await.map_err(|error| error.reason), Err(Reason::NoValidWorkers), "it has ended");
    assert_eq!(worker_of(&stage, None, 0).await, "a");

    // 64 KB more of 1 GiB: over 50 % of it, when less than half and 64 KB are available.
    let half = (1 << 19) + 64;
    stage.registry.put(tagged("f", "", ""));
    let script = "- default: [{workers: \"*\", invalidate: {capacity_used: 50%}}]";
    let revision = stage.registry.put_script("half", script);
    b.report(memory(half)).await;
    for (available_kb, expected) in [(half, "a"), (half - 1, "b")] {
        a.report(memory(available_kb)).await;
        eventually("the report counts", || async {
            invoke(&stage, by_script("half"), revision)
                .await
                .is_ok_and(|response| response.worker == expected)
        })
        .await;
    }
}

async fn check_script(stage: &Stage, content: &str) -> Result<CheckScriptResponse, Error> {
    let request = CheckScriptRequest { content: content.into() };
    let response = PoliciesClient::new(stage.channel.clone()).check_script(request).await?;
    Ok(response.into_inner())
}

#[tokio::test]
async fn a_script_is_checked() {
    let stage = Stage::start().await;
    let mut worker = stage.worker("w", 100).await;
    let content = "\
- t:
  - workers: [w, v]
    strategy: random
    invalidate: {capacity_used: 50%, max_concurrent_invocations: 3}
    affinity: [x, \"!y\"]
  followup: default
- default:
  - workers: \"*\"
";
    let good = check_script(&stage, content).await.expect("checked");
    let block = AppBlock {
        workers: vec!["w".into(), "v".into()],
        strategy: "random".into(),
        capacity_used: Some(50),
        max_concurrent_invocations: Some(3),
        affinity: vec!["x".into(), "!y".into()],
    };
    let all = AppBlock { strategy: "best-first".into(), ..AppBlock::default() };
    let item = |tag: &str, block, followup: &str| AppItem {
        tag: tag.into(),
        blocks: vec![block],
        followup: followup.into(),
    };
    let items = vec![item("t", block, "default"), item("default", all, "fail")];
    assert_eq!(good.script, Some(AppScript { items }));
    assert!(good.errors.is_empty());
    let [warning] = &good.warnings[..] else { panic!("one warning: {good:?}") };
    assert_eq!(
        (&*warning.kind, &*warning.tag, warning.block, warning.line, warning.column),
        ("unknown_worker", "t", 1, 2, 18)
    );
    assert_eq!(warning.message, "unknown_worker: tag \"t\", block 1, line 2: no worker is named \"v\" now");
    let _v = stage.worker("v", 100).await;
    assert!(check_script(&stage, content).await.expect("checked").warnings.is_empty(), "it is there now");
    worker.leave();
    stage.wait_for_workers(&["v"]).await;
    assert_eq!(check_script(&stage, content).await.expect("checked").warnings.len(), 1);

    let bad =
        check_script(&stage, "- t: []\n- u:\n  - strategy: random\n").await.expect("an answer, no error");
    assert_eq!((bad.script, bad.warnings), (None, Vec::new()));
    let errors: Vec<_> = bad
        .errors
        .iter()
        .map(|error| (&*error.kind, &*error.tag, error.block, error.line, error.column))
        .collect();
    assert_eq!(errors, [("no_blocks", "t", 0, 1, 6), ("no_block_workers", "u", 1, 3, 5)]);

    let largest = format!("- t: [{{workers: [v]}}] #{}", "x".repeat((256 << 10) - 23));
    assert_eq!(largest.len(), 256 << 10);
    assert!(check_script(&stage, &largest).await.expect("checked").script.is_some());
    let error = check_script(&stage, &(largest + "x")).await.expect_err("too large");
    assert_eq!(
        (error.reason, &*error.message),
        (Reason::TooLarge, "the script is larger than the limit of 262144 bytes")
    );
}
