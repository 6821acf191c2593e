//! Dead letters.

use bytes::Bytes;
use mesh::Caller;
use mesh::clock::now_ms;
use mesh::telemetry::TraceParent;
use proto::deadletter::v1::{DeadLetter, DeadLetterFilter};
use proto::registry::v1::BindingRole;
use sea_orm::{
    ColumnTrait as _, Condition, DerivePartialModel, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
};

use super::super::Outbox;
use super::super::entity::dead_letter::{Column, Entity};
use crate::error::Result;

/// Selects dead letters among those that the caller may access.
#[derive(Debug)]
pub(crate) struct LetterFilter {
    condition: Condition,
}

/// The id, binding and size of a dead letter.
#[derive(Debug)]
pub(crate) struct LetterKey {
    pub(crate) id: String,
    pub(crate) binding_id: String,
    pub(crate) size: i64,
    /// The span that failed.
    pub(crate) trace: Option<TraceParent>,
}

impl LetterFilter {
    /// All dead letters that the caller may access.
    pub(crate) fn reached_by(caller: &Caller) -> Self {
        let condition = match caller {
            Caller::Service | Caller::Admin(_) => Condition::all(),
            Caller::Subject(name) => Condition::all().add(Column::Owner.is_in(["", name])),
        };
        Self { condition }
    }

    /// Restricts it to these ids.
    pub(crate) fn with_ids(self, ids: &[String]) -> Self {
        Self { condition: self.condition.add(Column::Id.is_in(ids)) }
    }

    /// Restricts it to dead letters that match `filter`.
    pub(crate) fn and(self, filter: &DeadLetterFilter) -> Self {
        let given = |column: Column, value: &str| (!value.is_empty()).then(|| column.eq(value));
        let dead_lettered_before = (filter.min_age_ms > 0).then(|| {
            let age = i64::try_from(filter.min_age_ms).unwrap_or(i64::MAX);
            Column::DiedAtMs.lte(now_ms().saturating_sub(age))
        });
        let condition = self
            .condition
            .add_option(given(Column::Module, &filter.module))
            .add_option(given(Column::Function, &filter.function))
            .add_option(given(Column::BindingId, &filter.binding_id))
            .add_option(dead_lettered_before);
        Self { condition }
    }
}

/// A dead letter without its result.
#[derive(DerivePartialModel)]
#[sea_orm(entity = "Entity")]
struct Envelope {
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
    died_at_ms: i64,
    size: i64,
    traceparent: Option<String>,
}

impl Outbox {
    /// At most `limit` dead letters after the one with the id `after`, the oldest first, without results.
    pub(crate) async fn letters(
        &self,
        filter: LetterFilter,
        after: &str,
        limit: u64,
    ) -> Result<Vec<DeadLetter>> {
        let envelopes = Entity::find()
            .filter(filter.condition)
            .filter(Column::Id.gt(after))
            .order_by_asc(Column::Id)
            .limit(limit)
            .into_partial_model::<Envelope>()
            .all(&self.tables.db)
            .await?;
        Ok(envelopes.into_iter().map(Envelope::into_letter).collect())
    }

    /// One dead letter with its result.
    pub(crate) async fn letter(&self, filter: LetterFilter) -> Result<Option<DeadLetter>> {
        let envelope = Entity::find()
            .filter(filter.condition)
            .into_partial_model::<Envelope>()
            .one(&self.tables.db)
            .await?;
        let Some(envelope) = envelope else { return Ok(None) };
        let payload: Option<Vec<u8>> = Entity::find_by_id(&envelope.id)
            .select_only()
            .column(Column::Payload)
            .into_tuple()
            .one(&self.tables.db)
            .await?;
        let with_payload = |payload| DeadLetter { payload: Bytes::from(payload), ..envelope.into_letter() };
        Ok(payload.map(with_payload))
    }

    /// The keys of at most `limit` dead letters, the oldest first.
    pub(crate) async fn letter_keys(&self, filter: LetterFilter, limit: u64) -> Result<Vec<LetterKey>> {
        let keys: Vec<(String, String, i64, Option<String>)> = Entity::find()
            .select_only()
            .columns([Column::Id, Column::BindingId, Column::Size, Column::Traceparent])
            .filter(filter.condition)
            .order_by_asc(Column::Id)
            .limit(limit)
            .into_tuple()
            .all(&self.tables.db)
            .await?;
        let keys = keys.into_iter().map(|(id, binding_id, size, traceparent)| LetterKey {
            id,
            binding_id,
            size,
            trace: to_trace(traceparent),
        });
        Ok(keys.collect())
    }
}

fn to_trace(traceparent: Option<String>) -> Option<TraceParent> {
    traceparent?.parse().ok()
}

impl Envelope {
    fn into_letter(self) -> DeadLetter {
        DeadLetter {
            id: self.id,
            role: BindingRole::Sink.into(),
            binding_id: self.binding_id,
            binding_type: self.binding_type,
            function_id: self.function_id,
            module: self.module,
            function: self.function,
            owner: self.owner,
            invocation_id: self.invocation_id,
            reason: self.reason,
            attempts: self.attempts.cast_unsigned(),
            received_at_ms: self.received_at_ms,
            dead_lettered_at_ms: self.died_at_ms,
            payload_bytes: self.size.cast_unsigned(),
            payload: Bytes::new(),
            trace_id: to_trace(self.traceparent).map(|trace| trace.trace_id()).unwrap_or_default(),
            invalid: false,
        }
    }
}
