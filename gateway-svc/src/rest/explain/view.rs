//! Decisions in responses, with the fields of the protobufs.

use proto::scheduler::v1::{
    Decision, ExplainedBlock, ExplainedItem, ExplainedWorker, Explanation, TimedInvocation, Verdict,
};
use serde::Serialize;
use utoipa::ToSchema;

/// Why a worker was chosen, or why there was none.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Explanation)]
pub(crate) struct ExplanationView {
    /// Empty: the decision is hypothetical.
    decision_id: String,
    /// Unix time in milliseconds.
    at_ms: i64,
    module: String,
    function: String,
    tag: String,
    /// In KB.
    capacity_kb: u64,
    /// The name of the script. Empty: the default policy decided.
    script: String,
    /// The items, in the order in which they were considered.
    items: Vec<ItemView>,
    /// The worker that was chosen. Empty: none.
    worker: String,
    /// Why there is none: `no_workers`, `no_matching_tag` or `no_valid_workers`. Empty: there is one.
    refusal: String,
    /// The explanation in one sentence.
    summary: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExplainedItem)]
struct ItemView {
    tag: String,
    blocks: Vec<BlockView>,
    /// `default` or `fail`.
    followup: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExplainedBlock)]
struct BlockView {
    /// From 1.
    number: u32,
    /// `best-first`, `random` or `platform`.
    strategy: String,
    /// The candidates, in the order in which they were considered.
    workers: Vec<WorkerView>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExplainedWorker)]
struct WorkerView {
    worker: String,
    /// `chosen`; `valid`: it could have been chosen; `invalid`; `not_reached`: another worker was chosen
    /// before.
    #[schema(example = "chosen")]
    verdict: &'static str,
    /// As text.
    reason: String,
}

/// A decision and its outcome.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Decision)]
pub(crate) struct DecisionView {
    id: String,
    /// Unix time in milliseconds.
    at_ms: i64,
    module: String,
    function: String,
    /// The name of the script. Empty: the default policy decided.
    script: String,
    /// The worker that was chosen. Empty: none.
    worker: String,
    /// Why there is none. Empty: there is one.
    refusal: String,
    invocation: InvocationView,
}

/// One invocation of a load.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TimedInvocation)]
struct InvocationView {
    /// Nanoseconds since the scheduler's start.
    at_ns: u64,
    tag: String,
    /// In KB.
    capacity_kb: u64,
    /// Nanoseconds. Null: it still runs, or never ran.
    duration_ns: Option<u64>,
}

impl From<Explanation> for ExplanationView {
    fn from(explanation: Explanation) -> Self {
        Self {
            decision_id: explanation.decision_id,
            at_ms: explanation.at_ms,
            module: explanation.module,
            function: explanation.function,
            tag: explanation.tag,
            capacity_kb: explanation.capacity_kb,
            script: explanation.script,
            items: explanation.items.into_iter().map(ItemView::from).collect(),
            worker: explanation.worker,
            refusal: explanation.refusal,
            summary: explanation.summary,
        }
    }
}

impl From<ExplainedItem> for ItemView {
    fn from(ExplainedItem { tag, blocks, followup }: ExplainedItem) -> Self {
        Self { tag, blocks: blocks.into_iter().map(BlockView::from).collect(), followup }
    }
}

impl From<ExplainedBlock> for BlockView {
    fn from(ExplainedBlock { number, strategy, workers }: ExplainedBlock) -> Self {
        Self { number, strategy, workers: workers.into_iter().map(WorkerView::from).collect() }
    }
}

impl From<ExplainedWorker> for WorkerView {
    fn from(explained: ExplainedWorker) -> Self {
        let verdict = match explained.verdict() {
            Verdict::Unspecified => "unknown",
            Verdict::Chosen => "chosen",
            Verdict::Valid => "valid",
            Verdict::Invalid => "invalid",
            Verdict::NotReached => "not_reached",
        };
        Self { worker: explained.worker, verdict, reason: explained.reason }
    }
}

impl From<Decision> for DecisionView {
    fn from(decision: Decision) -> Self {
        Self {
            id: decision.id,
            at_ms: decision.at_ms,
            module: decision.module,
            function: decision.function,
            script: decision.script,
            worker: decision.worker,
            refusal: decision.refusal,
            invocation: decision.invocation.unwrap_or_default().into(),
        }
    }
}

impl From<TimedInvocation> for InvocationView {
    fn from(invocation: TimedInvocation) -> Self {
        let TimedInvocation { at_ns, tag, capacity_kb, duration_ns } = invocation;
        Self { at_ns, tag, capacity_kb, duration_ns }
    }
}
