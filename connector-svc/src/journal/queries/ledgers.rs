//! What became of the events of each binding.

use mesh::Caller;
use proto::connector::v1::{EventCounts, EventLedger};
use sea_orm::sea_query::{Expr, ExprTrait as _, Query, SelectStatement};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, FromQueryResult, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    Select,
};

use crate::journal::answer::{Result, answered};
use crate::journal::entity::{dead_letter, in_flight, ledger};
use crate::journal::store::Journal;

/// A ledger, and what there is of its binding in the other tables. Were this computed from the ledger, its
/// sums would hold whatever has been lost.
#[derive(Debug, FromQueryResult)]
struct Audited {
    #[sea_orm(nested)]
    ledger: ledger::Model,
    in_flight: i64,
    dead_letters: i64,
}

impl Journal {
    /// The ledgers of all bindings that there have been, of functions that the caller reaches.
    pub(crate) async fn ledgers(&self, caller: &Caller) -> Result<Vec<EventLedger>> {
        let rows = self.audited(ledger::Entity::find().order_by_asc(ledger::Column::BindingId)).await?;
        Ok(rows.into_iter().filter(|row| caller.reaches(&row.ledger.owner)).map(to_ledger).collect())
    }

    /// The ledgers of these bindings, in no order; without those that never ran.
    pub(crate) async fn ledgers_of(&self, binding_ids: &[String]) -> Result<Vec<EventLedger>> {
        let of_these = ledger::Entity::find().filter(ledger::Column::BindingId.is_in(binding_ids));
        Ok(self.audited(of_these).await?.into_iter().map(to_ledger).collect())
    }

    /// In one statement, which sees either all of a transaction or nothing of it.
    async fn audited(&self, ledgers: Select<ledger::Entity>) -> Result<Vec<Audited>> {
        let audited =
            ledgers.expr_as(count_in_flight(), "in_flight").expr_as(count_dead_letters(), "dead_letters");
        answered(audited.into_model().all(&self.db)).await
    }
}

/// How many events of the ledger's binding are in flight.
fn count_in_flight() -> SelectStatement {
    use in_flight::Column::{BindingId, EndedAtMs};
    Query::select()
        .expr(Expr::col((in_flight::Entity, BindingId)).count())
        .from(in_flight::Entity)
        .and_where(
            Expr::col((in_flight::Entity, BindingId)).equals((ledger::Entity, ledger::Column::BindingId)),
        )
        .and_where(Expr::col((in_flight::Entity, EndedAtMs)).is_null())
        .take()
}

/// How many dead letters the ledger's binding has.
fn count_dead_letters() -> SelectStatement {
    use dead_letter::Column::BindingId;
    Query::select()
        .expr(Expr::col((dead_letter::Entity, BindingId)).count())
        .from(dead_letter::Entity)
        .and_where(
            Expr::col((dead_letter::Entity, BindingId)).equals((ledger::Entity, ledger::Column::BindingId)),
        )
        .take()
}

fn to_ledger(row: Audited) -> EventLedger {
    let Audited { ledger, in_flight, dead_letters } = row;
    let counts = EventCounts {
        received: ledger.received.cast_unsigned(),
        acknowledged: ledger.acknowledged.cast_unsigned(),
        in_flight: in_flight.cast_unsigned(),
        lost: ledger.lost.cast_unsigned(),
        invalid: ledger.invalid.cast_unsigned(),
        dead_lettered: ledger.dead_lettered.cast_unsigned(),
        dead_letters: dead_letters.cast_unsigned(),
        redriven: ledger.redriven.cast_unsigned(),
        purged: ledger.purged.cast_unsigned(),
    };
    EventLedger {
        binding_id: ledger.binding_id,
        binding_type: ledger.r#type,
        function_id: ledger.function_id,
        module: ledger.module,
        function: ledger.function,
        counts: Some(counts),
    }
}
