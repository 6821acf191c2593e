//! What changes the tables. Each change of a row is counted in the ledger of its binding, in the same
//! transaction.

mod arriving;
mod dying;
mod leaving;
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

/// Rows of one statement: databases bound the number of its values.
const MAX_ROWS: usize = 1000;

/// A change of the tables.
#[derive(Debug)]
pub(super) enum Change {
    Accept(Acceptance),
    Describe(FunctionBinding),
    /// Rows that are delivered.
    Settle(Vec<i64>),
    Postpone(Vec<Postponement>),
    Bury(Vec<DeadLettered>),
    /// Letters that come back.
    Redrive {
        ids: Vec<String>,
        trace: Option<TraceParent>,
        _rooms: Vec<ReservedCapacity>,
    },
    /// Letters that are thrown away.
    Purge(Vec<String>),
    /// Rows that have left and need not be remembered.
    Forget(Vec<i64>),
}

/// A result that comes in.
#[derive(Debug)]
pub(super) struct Acceptance {
    pub(super) arrival: Arrival,
    pub(super) received_at_ms: i64,
    /// Held until the result is among what waits.
    pub(super) _room: ReservedCapacity,
}

/// A function as others may want to see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) id: String,
    pub(crate) module: String,
    pub(crate) name: String,
    /// See `funless.registry.v1.Module.owner`.
    pub(crate) owner: String,
}

/// An attempt that failed because of the result.
#[derive(Debug, Clone)]
pub(crate) struct Postponement {
    pub(crate) seq: i64,
    /// Failed attempts, this one included.
    pub(crate) attempts: i32,
    pub(crate) due_at_ms: i64,
    pub(crate) error: String,
}

/// A result that is given up.
#[derive(Debug, Clone)]
pub(crate) struct DeadLettered {
    pub(crate) seq: i64,
    pub(crate) attempts: i32,
    pub(crate) reason: String,
    /// A UUID of version 7.
    pub(crate) letter_id: String,
    /// The span that failed; without one it is that which put the result into the outbox.
    pub(crate) trace: Option<TraceParent>,
}

impl DeadLettered {
    /// A row that is given up after so many attempts.
    pub(crate) fn new(seq: i64, attempts: i32, reason: String) -> Self {
        Self { seq, attempts, reason, letter_id: Uuid::now_v7().to_string(), trace: None }
    }
}

impl Change {
    /// The bindings whose functions are known once this is committed.
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
    /// Applies the changes. Gives how many rows each concerned. Those that are many share statements.
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
        let mut settled = leaving::settle_all(transaction, &settling, ledgers).await?;
        let mut counts = Vec::with_capacity(changes.len());
        for change in changes {
            counts.push(match change {
                Change::Accept(acceptance) => accepted.take(acceptance),
                Change::Settle(seqs) => seqs.iter().filter(|seq| settled.remove(*seq)).count() as u64,
                Change::Describe(binding) => arriving::describe(transaction, binding).await?,
                Change::Postpone(postponed) => leaving::postpone(transaction, postponed).await?,
                Change::Bury(dead_lettered) => dying::bury(transaction, dead_lettered, ledgers).await?,
                Change::Redrive { ids, trace, .. } => {
                    dying::redrive(transaction, ids, *trace, ledgers).await?
                }
                Change::Purge(ids) => dying::purge(transaction, ids, ledgers).await?,
                Change::Forget(seqs) => leaving::forget(transaction, seqs).await?,
            });
        }
        Ok(counts)
    }
}

/// A row as a statement that changed it gives it back.
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

/// Rows with this state. It stands in the statement as it is: only then do the indexes of pending and
/// of settled rows apply.
pub(super) fn in_state(state: i32) -> Expr {
    Expr::col((outbox::Entity, outbox::Column::State)).eq(Expr::cust(state.to_string()))
}
