//! What became of all results.

use std::collections::HashMap;

use proto::sink::v1::{SinkCounts, SinkLedger};
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _};

use super::super::Outbox;
use super::super::entity::{binding, ledger};
use crate::error::Result;

/// A ledger, and the owner of its function.
#[derive(Debug)]
pub(crate) struct Owned<T> {
    pub(crate) owner: String,
    pub(crate) it: T,
}

impl Outbox {
    /// The counts of these bindings. One that never got anything has none.
    pub(crate) async fn counts(&self, ids: &[String]) -> Result<HashMap<String, SinkCounts>> {
        let of_these = ledger::Column::BindingId.is_in(ids);
        let rows = ledger::Entity::find().filter(of_these).all(&self.tables.db).await?;
        Ok(rows.into_iter().map(|row| (row.binding_id.clone(), to_counts(&row))).collect())
    }

    /// The ledgers of all bindings that ever got a result, those that are removed included, in the
    /// order in which the bindings were made.
    pub(crate) async fn ledgers(&self) -> Result<Vec<Owned<SinkLedger>>> {
        let rows =
            ledger::Entity::find().order_by_asc(ledger::Column::BindingId).all(&self.tables.db).await?;
        let bindings = binding::Entity::find().all(&self.tables.db).await?;
        let mut bindings: HashMap<_, _> =
            bindings.into_iter().map(|binding| (binding.id.clone(), binding)).collect();
        let ledgers = rows.into_iter().filter_map(|row| {
            // It is written before the first result.
            let binding = bindings.remove(&row.binding_id)?;
            let it = SinkLedger {
                counts: Some(to_counts(&row)),
                binding_id: row.binding_id,
                binding_type: binding.r#type,
                function_id: binding.function_id,
                module: binding.module,
                function: binding.function,
            };
            Some(Owned { owner: binding.owner, it })
        });
        Ok(ledgers.collect())
    }
}

fn to_counts(row: &ledger::Model) -> SinkCounts {
    let pending = row.accepted - row.delivered - row.dead - row.purged;
    SinkCounts {
        accepted: row.accepted.cast_unsigned(),
        delivered: row.delivered.cast_unsigned(),
        pending: pending.cast_unsigned(),
        dead: row.dead.cast_unsigned(),
        purged: row.purged.cast_unsigned(),
    }
}
