//! What became of the events of each binding.

use mesh::Caller;
use proto::connector::v1::{EventCounts, EventLedger};
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _};

use crate::journal::entity::ledger;
use crate::journal::{Journal, Result};

impl Journal {
    /// The ledgers of all bindings that there have been, of functions that the caller reaches.
    pub(crate) async fn ledgers(&self, caller: &Caller) -> Result<Vec<EventLedger>> {
        let rows = ledger::Entity::find().order_by_asc(ledger::Column::BindingId).all(&self.db).await?;
        Ok(rows.into_iter().filter(|row| caller.reaches(&row.owner)).map(to_ledger).collect())
    }

    /// The ledgers of these bindings, in no order; without those that never ran.
    pub(crate) async fn ledgers_of(&self, binding_ids: &[String]) -> Result<Vec<EventLedger>> {
        let rows =
            ledger::Entity::find().filter(ledger::Column::BindingId.is_in(binding_ids)).all(&self.db).await?;
        Ok(rows.into_iter().map(to_ledger).collect())
    }
}

/// What is in flight and what is dead follows from the counts: they change together.
fn to_ledger(row: ledger::Model) -> EventLedger {
    let counts = EventCounts {
        received: row.received.cast_unsigned(),
        acknowledged: row.acknowledged.cast_unsigned(),
        in_flight: (row.received - row.acknowledged - row.forgotten).cast_unsigned(),
        forgotten: row.forgotten.cast_unsigned(),
        refused: row.refused.cast_unsigned(),
        buried: row.buried.cast_unsigned(),
        dead: (row.buried - row.redriven - row.purged).cast_unsigned(),
        redriven: row.redriven.cast_unsigned(),
        purged: row.purged.cast_unsigned(),
    };
    EventLedger {
        binding_id: row.binding_id,
        binding_type: row.r#type,
        function_id: row.function_id,
        module: row.module,
        function: row.function,
        counts: Some(counts),
    }
}
