//! What pages read of the responses of the REST API.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Name {
    pub(super) name: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Module {
    pub(super) name: String,
    pub(super) functions: Vec<Name>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) module: String,
    pub(super) creator: String,
    pub(super) hash: Option<String>,
    pub(super) size: u64,
    pub(super) kind: String,
    pub(super) metadata: Metadata,
    pub(super) limits: Limits,
    pub(super) events: Vec<Event>,
    pub(super) sinks: Vec<Sink>,
    pub(super) created_at: String,
    pub(super) updated_at: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    pub(super) tag: String,
    pub(super) capacity: u64,
    pub(super) idempotent: bool,
    pub(super) script: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Limits {
    pub(super) memory_bytes: Option<u64>,
    pub(super) timeout_ms: Option<u64>,
    pub(super) output_bytes: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Event {
    pub(super) id: String,
    pub(super) r#type: String,
    pub(super) params: Option<Box<RawValue>>,
    pub(super) state: String,
    pub(super) since: Option<String>,
    pub(super) message: Option<String>,
    #[serde(default)]
    pub(super) module: String,
    #[serde(default)]
    pub(super) function: String,
    pub(super) last_event_at: Option<String>,
    pub(super) counts: Option<EventCounts>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(super) struct EventCounts {
    pub(super) received: u64,
    pub(super) acknowledged: u64,
    pub(super) in_flight: u64,
    pub(super) lost: u64,
    pub(super) invalid: u64,
    pub(super) dead_letters: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Sink {
    pub(super) id: String,
    pub(super) r#type: String,
    pub(super) params: Option<Box<RawValue>>,
    pub(super) state: String,
    pub(super) since: Option<String>,
    pub(super) message: Option<String>,
    #[serde(default)]
    pub(super) module: String,
    #[serde(default)]
    pub(super) function: String,
    pub(super) last_delivery_at: Option<String>,
    pub(super) counts: Option<SinkCounts>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(super) struct SinkCounts {
    pub(super) accepted: u64,
    pub(super) delivered: u64,
    pub(super) pending: u64,
    pub(super) dead: u64,
    pub(super) purged: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct RecentInvocations {
    pub(super) invocations: Vec<Invocation>,
    pub(super) minutes: Vec<Minute>,
    pub(super) max_kept: usize,
}

#[derive(Debug, Deserialize)]
pub(super) struct Invocation {
    pub(super) id: String,
    pub(super) at: String,
    pub(super) subject: String,
    pub(super) module: String,
    pub(super) function: String,
    pub(super) outcome: String,
    pub(super) reason: Option<String>,
    pub(super) message: Option<String>,
    pub(super) decision: Option<String>,
    pub(super) trace_id: Option<String>,
    pub(super) receipt: Receipt,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Receipt {
    pub(super) schedule_us: u64,
    pub(super) queue_us: u64,
    pub(super) fetch_us: u64,
    pub(super) compile_us: u64,
    pub(super) load_us: u64,
    pub(super) instantiate_us: u64,
    pub(super) run_us: u64,
    pub(super) keep_us: u64,
    pub(super) total_us: u64,
    pub(super) cpu_us: u64,
    pub(super) peak_memory_bytes: u64,
    pub(super) in_bytes: u64,
    pub(super) out_bytes: u64,
    pub(super) http_requests: u32,
    pub(super) attempts: u32,
    pub(super) worker: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Minute {
    pub(super) at: String,
    pub(super) count: u64,
    pub(super) errors: u64,
    pub(super) cold: u64,
    pub(super) p50_us: u64,
    pub(super) p99_us: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Log {
    pub(super) lines: Vec<Line>,
    pub(super) missed: u64,
    pub(super) unreachable: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Line {
    pub(super) at: String,
    pub(super) text: String,
    pub(super) invocation: String,
    pub(super) worker: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Script {
    pub(super) name: String,
    pub(super) owner: Option<String>,
    pub(super) content: String,
}

/// Errors and warnings about a script.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Findings {
    pub(super) errors: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Problem {
    pub(super) message: String,
    pub(super) line: u32,
    pub(super) column: u32,
}

#[derive(Debug, Deserialize)]
pub(super) struct Explanation {
    pub(super) decision_id: String,
    pub(super) module: String,
    pub(super) function: String,
    pub(super) script: String,
    pub(super) items: Vec<Item>,
    pub(super) summary: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Item {
    pub(super) tag: String,
    pub(super) blocks: Vec<Block>,
    pub(super) followup: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Block {
    pub(super) number: u32,
    pub(super) strategy: String,
    pub(super) workers: Vec<ExplainedWorker>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ExplainedWorker {
    pub(super) worker: String,
    pub(super) verdict: String,
    pub(super) reason: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Decision {
    pub(super) id: String,
    pub(super) at_ms: i64,
    pub(super) module: String,
    pub(super) function: String,
    pub(super) script: String,
    pub(super) worker: String,
    pub(super) refusal: String,
    pub(super) invocation: TimedInvocation,
}

#[derive(Debug, Clone, Deserialize, serde::Serialize)]
pub(super) struct TimedInvocation {
    pub(super) at_ns: u64,
    pub(super) tag: String,
    pub(super) capacity_kb: u64,
    pub(super) duration_ns: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Workers {
    pub(super) workers: Vec<Worker>,
    pub(super) metrics_problem: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Worker {
    pub(super) name: String,
    pub(super) tag: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) address: Option<String>,
    pub(super) memory: Memory,
    pub(super) cpus: u32,
    pub(super) cpu_use: f64,
    pub(super) load_1: f64,
    pub(super) running: u32,
    pub(super) running_by_tag: BTreeMap<String, u32>,
    pub(super) in_flight: u32,
    pub(super) draining: bool,
    pub(super) metrics_source: String,
    pub(super) last_report_at: Option<String>,
    pub(super) warm: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Memory {
    pub(super) total: Option<u64>,
    pub(super) available: Option<u64>,
    pub(super) guests: u64,
}

/// A page of dead letters.
#[derive(Debug, Deserialize)]
pub(super) struct DeadLetters {
    pub(super) data: Vec<DeadLetter>,
    pub(super) next: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct DeadLetter {
    pub(super) id: String,
    pub(super) role: Option<String>,
    pub(super) binding_id: String,
    pub(super) binding_type: String,
    pub(super) module: String,
    pub(super) function: String,
    pub(super) invocation_id: String,
    pub(super) reason: String,
    pub(super) attempts: u32,
    pub(super) received_at: String,
    pub(super) dead_lettered_at: String,
    pub(super) payload_bytes: u64,
    pub(super) invalid: bool,
    pub(super) trace_id: String,
    pub(super) payload: Option<Box<RawValue>>,
    pub(super) payload_base64: Option<String>,
}

/// The outcome of a redrive.
#[derive(Debug, Deserialize)]
pub(super) struct Redriven {
    pub(super) redriven: usize,
    pub(super) failures: Vec<RedriveFailure>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RedriveFailure {
    pub(super) id: String,
    pub(super) reason: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Purged {
    pub(super) purged: usize,
}

#[derive(Debug, Deserialize)]
pub(super) struct Conservation {
    pub(super) events: Books<EventBalance>,
    pub(super) sinks: Books<SinkBalance>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Books<B> {
    pub(super) sum: B,
}

#[derive(Debug, Deserialize)]
pub(super) struct EventBalance {
    #[serde(flatten)]
    pub(super) counts: EventCounts,
    pub(super) drift: i64,
    pub(super) dead_letter_drift: i64,
}

#[derive(Debug, Deserialize)]
pub(super) struct SinkBalance {
    #[serde(flatten)]
    pub(super) counts: SinkCounts,
    pub(super) drift: i64,
}

#[derive(Debug, Deserialize)]
pub(super) struct SubjectCreated {
    pub(super) name: String,
    pub(super) token: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Simulated {
    pub(super) placements: Vec<Placement>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Placement {
    pub(super) invocation: u32,
    pub(super) worker: String,
    pub(super) refusal: String,
}
