//! Changes to the tables. Each change of a row is counted in the ledger of its binding, in the same
//! transaction.

mod accepting;
mod dead_lettering;
mod delivering;
mod ledgers;

use mesh::database::Result;
use mesh::telemetry::TraceParent;
use proto::registry::v1::FunctionBinding;
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{DatabaseTransaction, QueryResult};
use uuid::Uuid;

pub(super) use self::ledgers::Ledgers;
use super::capacity::{Amount, ReservedCapacity};
use super::entity::outbox;
use super::{Arrival, Tables};

/// The maximum number of rows in one statement, since databases limit its number of values.
const MAX_ROWS: usize = 1000;

/// A change to the tables.
#[derive(Debug)]
pub(super) enum Change {
    Accept(Acceptance),
    Describe(FunctionBinding),
    /// Marks rows as delivered.
    Settle(Vec<i64>),
    Postpone(Vec<Postponement>),
    DeadLetter(Vec<DeadLettered>),
    /// Makes the results of dead letters pending again.
    Redrive {
        ids: Vec<String>,
        trace: Option<TraceParent>,
        _reservations: Vec<ReservedCapacity>,
    },
    /// Deletes dead letters.
    Purge(Vec<String>),
    /// Deletes settled rows that need not be remembered.
    DeleteSettled(Vec<i64>),
}

/// A result to accept.
#[derive(Debug)]
pub(super) struct Acceptance {
    pub(super) arrival: Arrival,
    pub(super) received_at_ms: i64,
    /// Held until the result counts as pending.
    pub(super) _reservation: ReservedCapacity,
}

/// A function, as ledgers and dead letters show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) id: String,
    pub(crate) module: String,
    pub(crate) name: String,
    /// See `funless.registry.v1.FunctionBinding.owner`.
    pub(crate) owner: String,
}

/// A failed attempt that counts against the result.
#[derive(Debug, Clone)]
pub(crate) struct Postponement {
    pub(crate) seq: i64,
    /// Failed attempts, including this one.
    pub(crate) attempts: i32,
    pub(crate) due_at_ms: i64,
    pub(crate) error: String,
}

/// A result that becomes a dead letter.
#[derive(Debug, Clone)]
pub(crate) struct DeadLettered {
    pub(crate) seq: i64,
    pub(crate) attempts: i32,
    pub(crate) reason: String,
    /// A UUID of version 7.
    pub(crate) letter_id: String,
    /// The span that failed. If `None`, the dead letter keeps the span that put the result into the outbox.
    pub(crate) trace: Option<TraceParent>,
}

impl DeadLettered {
    /// A row that is dead-lettered after this many failed attempts.
    pub(crate) fn new(seq: i64, attempts: i32, reason: String) -> Self {
        Self { seq, attempts, reason, letter_id: Uuid::now_v7().to_string(), trace: None }
    }
}

impl Change {
    /// The bindings whose functions are stored once this is committed.
    pub(super) fn functions(&self) -> Vec<(&str, Function)> {
        match self {
            Self::Accept(Acceptance { arrival, .. }) => {
                let sinks = arrival.sinks.iter();
                sinks.map(|sink| (sink.binding_id.as_str(), arrival.function.clone())).collect()
            }
            Self::Describe(binding) => {
                binding.binding.iter().map(|it| (it.id.as_str(), Function::of(binding))).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl Function {
    /// The function of a binding.
    pub(crate) fn of(binding: &FunctionBinding) -> Self {
        Self {
            id: binding.function_id.clone(),
            module: binding.module.clone(),
            name: binding.function.clone(),
            owner: binding.owner.clone(),
        }
    }
}

impl Tables {
    /// Applies changes. Returns how many rows each has changed. Accepted and delivered results share
    /// statements.
    pub(super) async fn apply(
        &self,
        transaction: &DatabaseTransaction,
        changes: &[Change],
        ledgers: &mut Ledgers,
    ) -> Result<Vec<u64>> {
        let mut accepted = Vec::new();
        let mut settling = Vec::new();
        for change in changes {
            match change {
                Change::Accept(acceptance) => accepted.push(acceptance),
                Change::Settle(seqs) => settling.extend_from_slice(seqs),
                _ => {}
            }
        }
        let mut accepted = self.accept_all(transaction, &accepted, ledgers).await?;
        let mut settled = delivering::settle_all(transaction, &settling, ledgers).await?;
        let mut counts = Vec::with_capacity(changes.len());
        for change in changes {
            counts.push(match change {
                Change::Accept(acceptance) => accepted.take(acceptance),
                Change::Settle(seqs) => seqs.iter().filter(|seq| settled.remove(*seq)).count() as u64,
                Change::Describe(binding) => accepting::describe(transaction, binding).await?,
                Change::Postpone(postponed) => delivering::postpone(transaction, postponed).await?,
                Change::DeadLetter(dead_lettered) => {
                    dead_lettering::dead_letter_all(transaction, dead_lettered, ledgers).await?
                }
                Change::Redrive { ids, trace, .. } => {
                    dead_lettering::redrive(transaction, ids, *trace, ledgers).await?
                }
                Change::Purge(ids) => dead_lettering::purge(transaction, ids, ledgers).await?,
                Change::DeleteSettled(seqs) => delivering::delete_settled(transaction, seqs).await?,
            });
        }
        Ok(counts)
    }
}

/// A row, as returned by the statement that changed it.
struct Changed {
    seq: i64,
    binding_id: String,
    size: i64,
}

impl Changed {
    const COLUMNS: [outbox::Column; 3] =
        [outbox::Column::Seq, outbox::Column::BindingId, outbox::Column::Size];

    fn read(row: &QueryResult) -> Result<Self> {
        Ok(Self { seq: row.try_get_by(0)?, binding_id: row.try_get_by(1)?, size: row.try_get_by(2)? })
    }

    fn read_all(rows: &[QueryResult]) -> Result<Vec<Self>> {
        rows.iter().map(Self::read).collect()
    }
}

/// Selects rows in this state. The state is a literal, not a bound value: only then do the indexes of pending
/// and of settled rows apply.
pub(super) fn in_state(state: i32) -> Expr {
    Expr::col((outbox::Entity, outbox::Column::State)).eq(Expr::cust(state.to_string()))
}
