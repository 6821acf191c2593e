//! Events that could not be handled.

use bytes::Bytes;
use mesh::Caller;
use mesh::clock::now_ms;
use mesh::telemetry::TraceParent;
use proto::deadletter::v1::{DeadLetter, DeadLetterFilter};
use proto::registry::v1::BindingRole;
use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, FromQueryResult, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
};

use crate::journal::answer::{Result, answered};
use crate::journal::change::DeadLetterRecord;
use crate::journal::entity::dead_letter;
use crate::journal::store::Journal;

/// A part of a list.
#[derive(Debug)]
pub(crate) struct DeadLetterPage {
    /// Ordered by id, without payloads.
    pub(crate) letters: Vec<DeadLetter>,
    /// There are letters after these.
    pub(crate) more: bool,
}

/// All of a letter but its payload.
#[derive(Debug, FromQueryResult)]
struct Head {
    id: String,
    binding_id: String,
    binding_type: String,
    function_id: String,
    module: String,
    function: String,
    owner: String,
    invocation_id: String,
    reason: String,
    attempts: i32,
    received_at_ms: i64,
    #[sea_orm(from_alias = "died_at_ms")]
    dead_lettered_at_ms: i64,
    payload_bytes: i64,
    traceparent: Option<String>,
    invalid: bool,
}

impl Journal {
    /// The letters after the id `after` that the filter lets through and the caller reaches.
    pub(crate) async fn dead_letters(
        &self,
        caller: &Caller,
        filter: &DeadLetterFilter,
        after: &str,
        limit: u32,
    ) -> Result<DeadLetterPage> {
        let passing = reached_by(caller).add(passes(filter)).add(dead_letter::Column::Id.gt(after));
        let mut letters = self.heads(passing, u64::from(limit) + 1).await?;
        let more = letters.len() > limit as usize;
        letters.truncate(limit as usize);
        Ok(DeadLetterPage { letters, more })
    }

    /// Those of these letters that the caller reaches, without payloads.
    pub(crate) async fn dead_letter_heads(&self, caller: &Caller, ids: &[String]) -> Result<Vec<DeadLetter>> {
        let these = reached_by(caller).add(dead_letter::Column::Id.is_in(ids));
        self.heads(these, ids.len() as u64).await
    }

    async fn heads(&self, condition: Condition, limit: u64) -> Result<Vec<DeadLetter>> {
        use dead_letter::Column::{
            Attempts, BindingId, BindingType, DeadLetteredAtMs, Function, FunctionId, Id, Invalid,
            InvocationId, Module, Owner, PayloadBytes, Reason, ReceivedAtMs, Traceparent,
        };
        let columns = [
            Id,
            BindingId,
            BindingType,
            FunctionId,
            Module,
            Function,
            Owner,
            InvocationId,
            Reason,
            Attempts,
            ReceivedAtMs,
            DeadLetteredAtMs,
            PayloadBytes,
            Traceparent,
            Invalid,
        ];
        let heads = dead_letter::Entity::find()
            .select_only()
            .columns(columns)
            .filter(condition)
            .order_by_asc(Id)
            .limit(limit)
            .into_model::<Head>()
            .all(&self.db);
        Ok(answered(heads).await?.into_iter().map(to_letter).collect())
    }

    /// A letter with its payload, if the caller reaches it.
    pub(crate) async fn dead_letter(&self, caller: &Caller, id: &str) -> Result<Option<DeadLetterRecord>> {
        let row = dead_letter::Entity::find_by_id(id).filter(reached_by(caller)).one(&self.db);
        Ok(answered(row).await?.map(|row| {
            let payload = Bytes::from(row.payload);
            let head = Head {
                id: row.id,
                binding_id: row.binding_id,
                binding_type: row.binding_type,
                function_id: row.function_id,
                module: row.module,
                function: row.function,
                owner: row.owner,
                invocation_id: row.invocation_id,
                reason: row.reason,
                attempts: row.attempts,
                received_at_ms: row.received_at_ms,
                dead_lettered_at_ms: row.dead_lettered_at_ms,
                payload_bytes: row.payload_bytes,
                traceparent: row.traceparent,
                invalid: row.invalid,
            };
            let trace = head.trace();
            DeadLetterRecord { letter: DeadLetter { payload, ..to_letter(head) }, trace }
        }))
    }
}

impl Head {
    /// The span that failed.
    fn trace(&self) -> Option<TraceParent> {
        self.traceparent.as_deref()?.parse().ok()
    }
}

/// What [`Caller::reaches`] says, as a condition.
fn reached_by(caller: &Caller) -> Condition {
    match caller {
        Caller::Service | Caller::Admin(_) => Condition::all(),
        Caller::Subject(name) => Condition::all().add(dead_letter::Column::Owner.is_in(["", name])),
    }
}

fn passes(filter: &DeadLetterFilter) -> Condition {
    let texts = [
        (dead_letter::Column::Module, &filter.module),
        (dead_letter::Column::Function, &filter.function),
        (dead_letter::Column::BindingId, &filter.binding_id),
    ];
    let mut condition = Condition::all();
    for (column, text) in texts {
        if !text.is_empty() {
            condition = condition.add(column.eq(text));
        }
    }
    if filter.min_age_ms > 0 {
        let age_ms = i64::try_from(filter.min_age_ms).unwrap_or(i64::MAX);
        condition = condition.add(dead_letter::Column::DeadLetteredAtMs.lte(now_ms().saturating_sub(age_ms)));
    }
    condition
}

fn to_letter(head: Head) -> DeadLetter {
    DeadLetter {
        trace_id: head.trace().map(|trace| trace.trace_id()).unwrap_or_default(),
        id: head.id,
        role: BindingRole::Event.into(),
        binding_id: head.binding_id,
        binding_type: head.binding_type,
        function_id: head.function_id,
        module: head.module,
        function: head.function,
        owner: head.owner,
        invocation_id: head.invocation_id,
        reason: head.reason,
        attempts: head.attempts.cast_unsigned(),
        received_at_ms: head.received_at_ms,
        dead_lettered_at_ms: head.dead_lettered_at_ms,
        payload_bytes: head.payload_bytes.cast_unsigned(),
        payload: Bytes::new(),
        invalid: head.invalid,
    }
}
