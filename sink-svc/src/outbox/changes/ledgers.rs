//! The changes of a transaction to the ledgers.

use std::collections::BTreeMap;

use mesh::database::Result;
use sea_orm::sea_query::{Alias, Expr, ExprTrait as _, OnConflict, Query};
use sea_orm::{ConnectionTrait as _, DatabaseTransaction};

use super::super::entity::ledger;
use super::{Amount, MAX_ROWS};

/// What a transaction adds to the ledgers, by binding. Ordered, so that replicas that write to the same
/// ledgers do not deadlock.
#[derive(Debug, Default)]
pub(in crate::outbox) struct Ledgers(BTreeMap<String, Added>);

#[derive(Debug, Default)]
struct Added {
    accepted: i64,
    delivered: i64,
    dead: i64,
    purged: i64,
    redriven: i64,
    pending_bytes: i64,
}

impl Added {
    fn pending(&self) -> i64 {
        self.accepted - self.delivered - self.dead - self.purged
    }
}

impl Ledgers {
    pub(super) fn accepted(&mut self, binding_id: &str, size: i64) {
        let added = self.of(binding_id);
        added.accepted += 1;
        added.pending_bytes += size;
    }

    pub(super) fn delivered(&mut self, binding_id: &str, size: i64) {
        let added = self.of(binding_id);
        added.delivered += 1;
        added.pending_bytes -= size;
    }

    pub(super) fn dead_lettered(&mut self, binding_id: &str, size: i64) {
        let added = self.of(binding_id);
        added.dead += 1;
        added.pending_bytes -= size;
    }

    pub(super) fn redriven(&mut self, binding_id: &str, size: i64) {
        let added = self.of(binding_id);
        added.dead -= 1;
        added.redriven += 1;
        added.pending_bytes += size;
    }

    pub(super) fn purged(&mut self, binding_id: &str) {
        let added = self.of(binding_id);
        added.dead -= 1;
        added.purged += 1;
    }

    /// The change of the pending results.
    pub(in crate::outbox) fn waiting(&self) -> Amount {
        let mut amount = Amount::default();
        for added in self.0.values() {
            amount += Amount { rows: added.pending(), bytes: added.pending_bytes };
        }
        amount
    }

    /// The bindings that have new results to deliver.
    pub(in crate::outbox) fn with_arrivals(&self) -> impl Iterator<Item = &str> {
        let with_arrivals = self.0.iter().filter(|(_, added)| added.accepted + added.redriven > 0);
        with_arrivals.map(|(binding_id, _)| binding_id.as_str())
    }

    /// Adds the changes to the ledgers in the database.
    pub(in crate::outbox) async fn write(&self, transaction: &DatabaseTransaction) -> Result<()> {
        const COUNTS: [ledger::Column; 5] = [
            ledger::Column::Accepted,
            ledger::Column::Delivered,
            ledger::Column::Dead,
            ledger::Column::Purged,
            ledger::Column::PendingBytes,
        ];
        let added: Vec<_> = self.0.iter().collect();
        for added in added.chunks(MAX_ROWS) {
            let mut insert = Query::insert();
            insert.into_table(ledger::Entity);
            insert.columns([ledger::Column::BindingId].into_iter().chain(COUNTS));
            for (binding_id, added) in added {
                insert.values_panic([
                    binding_id.as_str().into(),
                    added.accepted.into(),
                    added.delivered.into(),
                    added.dead.into(),
                    added.purged.into(),
                    added.pending_bytes.into(),
                ]);
            }
            let mut add = OnConflict::column(ledger::Column::BindingId);
            for count in COUNTS {
                let given = Expr::col((Alias::new("excluded"), count));
                add.value(count, Expr::col((ledger::Entity, count)).add(given));
            }
            transaction.execute(insert.on_conflict(add)).await?;
        }
        Ok(())
    }

    fn of(&mut self, binding_id: &str) -> &mut Added {
        if !self.0.contains_key(binding_id) {
            self.0.insert(binding_id.to_owned(), Added::default());
        }
        self.0.get_mut(binding_id).expect("it has just been inserted")
    }
}
