//! Functions in responses.

use mesh::clock::rfc_3339;
use mesh::hash::Hash;
use proto::registry::v1::{CodeKind, Function, Limits, Metadata};
use proto::scheduler::v1::AwaitCodeResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::bindings::{Counts, Outcome};
use super::super::events::EventView;
use super::super::sinks::SinkView;

/// A function.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FunctionView {
    name: String,
    module: String,
    /// The subject that created it. In a shared module only this subject and administrators may change or
    /// delete the function.
    creator: String,
    /// SHA3-256 of the binary.
    hash: Option<String>,
    /// Size of the binary in bytes.
    size: u64,
    /// `funless` or `wasi_command`.
    kind: &'static str,
    metadata: MetadataView,
    limits: LimitsView,
    events: Vec<EventView>,
    sinks: Vec<SinkView>,
    /// RFC 3339.
    created_at: String,
    /// RFC 3339.
    updated_at: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct MetadataView {
    /// Empty: it has none.
    tag: String,
    /// In KB.
    capacity: u64,
    idempotent: bool,
    /// The script of an invocation that names no policy. Empty: the default policy.
    script: String,
}

/// Limits. Null: the worker's default.
#[derive(Debug, Serialize, ToSchema)]
struct LimitsView {
    memory_bytes: Option<u64>,
    timeout_ms: Option<u64>,
    output_bytes: Option<u64>,
}

impl FunctionView {
    /// A function with the state of its events and sinks.
    pub(super) fn new(function: Function, events: Vec<EventView>, sinks: Vec<SinkView>) -> Self {
        let code = function.code.unwrap_or_default();
        Self {
            name: function.name,
            module: function.module,
            creator: function.creator,
            hash: Hash::try_from(&code.hash[..]).ok().map(|hash| hash.to_string()),
            size: code.size,
            kind: match code.kind() {
                CodeKind::Unspecified => "unknown",
                CodeKind::Funless => "funless",
                CodeKind::WasiCommand => "wasi_command",
            },
            metadata: function.metadata.unwrap_or_default().into(),
            limits: function.limits.unwrap_or_default().into(),
            events,
            sinks,
            created_at: rfc_3339(function.created_at_ms),
            updated_at: rfc_3339(function.updated_at_ms),
        }
    }
}

impl From<Metadata> for MetadataView {
    fn from(metadata: Metadata) -> Self {
        let capacity =
            if metadata.capacity_kb == 0 { proto::DEFAULT_CAPACITY_KB } else { metadata.capacity_kb };
        let Metadata { tag, idempotent, script, .. } = metadata;
        Self { tag, capacity, idempotent, script }
    }
}

impl From<Limits> for LimitsView {
    fn from(limits: Limits) -> Self {
        let given = |limit: u64| Some(limit).filter(|limit| *limit != 0);
        Self {
            memory_bytes: given(limits.memory_bytes),
            timeout_ms: given(limits.timeout_ms),
            output_bytes: given(limits.output_bytes),
        }
    }
}

/// A function that was created or updated, with the outcome of each event and sink of the upload, in order,
/// and of its code.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FunctionWriteResponse {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    events: Option<Vec<Outcome>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    events_metadata: Option<Counts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    sinks: Option<Vec<Outcome>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    sinks_metadata: Option<Counts>,
    /// The state of the code on the workers; absent if the request did not wait for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    workers: Option<CodeOnWorkers>,
}

/// The state of the code on the workers. The function is stored in any case.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct CodeOnWorkers {
    /// Names of the workers that can run it.
    ready: Vec<String>,
    failed: Vec<WorkerFailure>,
    /// Why the state is unknown, or that no worker has the code ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    message: Option<String>,
}

/// A worker that cannot run the code, or has not prepared it yet.
#[derive(Debug, Serialize, ToSchema)]
struct WorkerFailure {
    #[schema(example = "pi")]
    worker: String,
    #[schema(example = "the module imports env.now, which is unknown")]
    message: String,
}

impl CodeOnWorkers {
    /// The state is unknown.
    pub(super) fn unknown(message: &str) -> Self {
        Self { message: Some(message.to_owned()), ..Self::default() }
    }
}

/// What a request that waited for workers learns if all of them refused the code.
const NONE_READY: &str =
    "no worker has the code ready, so the function cannot run; `failed` has the reason of each worker";

impl From<AwaitCodeResponse> for CodeOnWorkers {
    fn from(reply: AwaitCodeResponse) -> Self {
        let none = reply.ready.is_empty() && !reply.failed.is_empty();
        let failed = reply.failed.into_iter();
        let failed = failed.map(|failure| WorkerFailure { worker: failure.worker, message: failure.message });
        let message = none.then(|| NONE_READY.to_owned());
        Self { ready: reply.ready, failed: failed.collect(), message }
    }
}

impl FunctionWriteResponse {
    /// Empty lists are omitted.
    pub(super) fn new(
        name: String,
        events: Vec<Outcome>,
        sinks: Vec<Outcome>,
        workers: Option<CodeOnWorkers>,
    ) -> Self {
        let events = Some(events).filter(|events| !events.is_empty());
        let sinks = Some(sinks).filter(|sinks| !sinks.is_empty());
        Self {
            name,
            events_metadata: events.as_deref().map(Counts::of),
            events,
            sinks_metadata: sinks.as_deref().map(Counts::of),
            sinks,
            workers,
        }
    }

    pub(super) fn any_failed(&self) -> bool {
        [&self.events_metadata, &self.sinks_metadata].into_iter().flatten().any(Counts::any_failed)
    }
}
