//! Ledgers.

use std::collections::HashMap;

use proto::sink::v1::{SinkCounts, SinkLedger};
use sea_orm::sea_query::{Expr, ExprTrait as _, Query, SelectStatement};
use sea_orm::{
    AccessMode, ColumnTrait as _, ConnectionTrait as _, DatabaseConnection, DatabaseTransaction, DbBackend,
    EntityTrait as _, IsolationLevel, QueryFilter as _, QueryOrder as _, TransactionTrait as _,
};

use super::super::Outbox;
use super::super::changes::in_state;
use super::super::entity::outbox::PENDING;
use super::super::entity::{binding, dead_letter, ledger, outbox};
use crate::error::Result;

/// A ledger, and the owner of its function.
#[derive(Debug)]
pub(crate) struct Owned<T> {
    pub(crate) owner: String,
    pub(crate) it: T,
}

/// The numbers of pending rows and of dead letters, by binding. They are counted, not taken from the ledgers,
/// so that lost and duplicate rows show.
struct Rows {
    pending: HashMap<String, i64>,
    dead: HashMap<String, i64>,
}

impl Outbox {
    /// The counts of these bindings. A binding that never got a result has none.
    pub(crate) async fn counts(&self, ids: &[String]) -> Result<HashMap<String, SinkCounts>> {
        let snapshot = snapshot(&self.tables.db).await?;
        let of_these = ledger::Column::BindingId.is_in(ids);
        let ledgers = ledger::Entity::find().filter(of_these).all(&snapshot).await?;
        let rows = Rows::count(&snapshot, Some(ids)).await?;
        snapshot.commit().await?;
        let counts = ledgers.into_iter().map(|ledger| (ledger.binding_id.clone(), rows.counts(&ledger)));
        Ok(counts.collect())
    }

    /// The ledgers of all bindings that ever got a result, including removed ones, in the order in which the
    /// bindings were created.
    pub(crate) async fn ledgers(&self) -> Result<Vec<Owned<SinkLedger>>> {
        let snapshot = snapshot(&self.tables.db).await?;
        let ledgers = ledger::Entity::find().order_by_asc(ledger::Column::BindingId).all(&snapshot).await?;
        let bindings = binding::Entity::find().all(&snapshot).await?;
        let rows = Rows::count(&snapshot, None).await?;
        snapshot.commit().await?;
        let mut bindings: HashMap<_, _> =
            bindings.into_iter().map(|binding| (binding.id.clone(), binding)).collect();
        let ledgers = ledgers.into_iter().filter_map(|ledger| {
            // The binding's row is written before its first result.
            let binding = bindings.remove(&ledger.binding_id)?;
            let it = SinkLedger {
                counts: Some(rows.counts(&ledger)),
                binding_id: ledger.binding_id,
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

impl Rows {
    /// Counts the rows of these bindings, or of all bindings.
    async fn count(snapshot: &DatabaseTransaction, ids: Option<&[String]>) -> Result<Self> {
        let of_these = |column: Expr| ids.map(|ids| column.is_in(ids));
        let pending = Query::select()
            .column(outbox::Column::BindingId)
            .expr(Expr::col(outbox::Column::Seq).count())
            .from(outbox::Entity)
            .and_where(in_state(PENDING))
            .and_where_option(of_these(Expr::col(outbox::Column::BindingId)))
            .group_by_col(outbox::Column::BindingId)
            .take();
        let dead = Query::select()
            .column(dead_letter::Column::BindingId)
            .expr(Expr::col(dead_letter::Column::Id).count())
            .from(dead_letter::Entity)
            .and_where_option(of_these(Expr::col(dead_letter::Column::BindingId)))
            .group_by_col(dead_letter::Column::BindingId)
            .take();
        Ok(Self { pending: by_binding(snapshot, &pending).await?, dead: by_binding(snapshot, &dead).await? })
    }

    fn counts(&self, ledger: &ledger::Model) -> SinkCounts {
        let to_u64 = |count| u64::try_from(count).unwrap_or(0);
        let of_it = |rows: &HashMap<String, i64>| rows.get(&ledger.binding_id).copied().unwrap_or_default();
        SinkCounts {
            accepted: to_u64(ledger.accepted),
            delivered: to_u64(ledger.delivered),
            pending: to_u64(of_it(&self.pending)),
            dead: to_u64(of_it(&self.dead)),
            purged: to_u64(ledger.purged),
        }
    }
}

/// Runs a query that returns bindings, each with a count.
async fn by_binding(
    snapshot: &DatabaseTransaction,
    select: &SelectStatement,
) -> Result<HashMap<String, i64>> {
    let rows = snapshot.query_all(select).await?;
    rows.iter().map(|row| Ok((row.try_get_by(0)?, row.try_get_by(1)?))).collect()
}

/// A transaction whose statements all see the same state.
async fn snapshot(db: &DatabaseConnection) -> Result<DatabaseTransaction> {
    Ok(match db.get_database_backend() {
        DbBackend::Postgres => {
            let isolation = Some(IsolationLevel::RepeatableRead);
            db.begin_with_config(isolation, Some(AccessMode::ReadOnly)).await?
        }
        // A transaction of SQLite is always a snapshot.
        _ => db.begin().await?,
    })
}
