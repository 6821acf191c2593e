//! Results that were delivered or postponed.

use std::collections::HashSet;

use mesh::clock::now_ms;
use mesh::database::Result;
use sea_orm::sea_query::{Expr, ExprTrait as _, Query};
use sea_orm::{ConnectionTrait as _, DatabaseTransaction};

use super::super::entity::outbox::{self, PENDING, SETTLED};
use super::{Changed, Ledgers, MAX_ROWS, Postponement, in_state};

/// Marks rows as delivered. Rows that another replica has settled already are not counted again. Returns the
/// rows that were still pending.
pub(super) async fn settle_all(
    transaction: &DatabaseTransaction,
    seqs: &[i64],
    ledgers: &mut Ledgers,
) -> Result<HashSet<i64>> {
    let mut settled = HashSet::new();
    for seqs in seqs.chunks(MAX_ROWS) {
        let mut update = Query::update();
        update
            .table(outbox::Entity)
            .value(outbox::Column::State, SETTLED)
            .value(outbox::Column::SettledAtMs, now_ms())
            .value(outbox::Column::Result, Vec::<u8>::new())
            .and_where(Expr::col(outbox::Column::Seq).is_in(seqs.iter().copied()))
            .and_where(in_state(PENDING))
            .returning(Query::returning().columns(Changed::COLUMNS));
        for row in Changed::read_all(&transaction.query_all(&update).await?)? {
            ledgers.delivered(&row.binding_id, row.size);
            settled.insert(row.seq);
        }
    }
    Ok(settled)
}

/// Records failed attempts that are retried later.
pub(super) async fn postpone(transaction: &DatabaseTransaction, postponed: &[Postponement]) -> Result<u64> {
    let mut changed = 0;
    for postponement in postponed {
        let mut update = Query::update();
        update
            .table(outbox::Entity)
            .value(outbox::Column::Attempts, postponement.attempts)
            .value(outbox::Column::DueAtMs, postponement.due_at_ms)
            .value(outbox::Column::LastError, postponement.error.as_str())
            .and_where(Expr::col(outbox::Column::Seq).eq(postponement.seq))
            .and_where(in_state(PENDING));
        changed += transaction.execute(&update).await?.rows_affected();
    }
    Ok(changed)
}

/// Deletes settled rows, which were kept for deduplication.
pub(super) async fn delete_settled(transaction: &DatabaseTransaction, seqs: &[i64]) -> Result<u64> {
    let mut deleted = 0;
    for seqs in seqs.chunks(MAX_ROWS) {
        let mut delete = Query::delete();
        delete
            .from_table(outbox::Entity)
            .and_where(Expr::col(outbox::Column::Seq).is_in(seqs.iter().copied()))
            .and_where(in_state(SETTLED));
        deleted += transaction.execute(&delete).await?.rows_affected();
    }
    Ok(deleted)
}
