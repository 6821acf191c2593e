//! A write: one transaction with one revision.

use std::sync::Arc;

use proto::registry::v1::{Change, ChangeSet, change};
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{DatabaseTransaction, DbErr, EntityTrait as _};
use tokio::sync::{OwnedMutexGuard, watch};

use super::entity::revision;
use super::{DatabaseError, Reader, Result, advance, changes};
use crate::keyring::Keyring;
use mesh::clock::now_ms;

/// A write in progress. Its changes become visible when it is committed; dropping it rolls it back. Its
/// statements are in `queries`.
pub(crate) struct Write {
    pub(super) transaction: DatabaseTransaction,
    pub(super) revision: u64,
    /// When the write began, as Unix time in milliseconds.
    pub(super) now_ms: i64,
    pub(super) keyring: Arc<Keyring>,
    changes: Vec<Change>,
    changes_kept: u32,
    newest: Arc<watch::Sender<u64>>,
    /// Released after the transaction has ended.
    _turn: OwnedMutexGuard<()>,
}

impl Write {
    pub(super) async fn begin(
        transaction: DatabaseTransaction,
        keyring: Arc<Keyring>,
        changes_kept: u32,
        newest: Arc<watch::Sender<u64>>,
        turn: OwnedMutexGuard<()>,
    ) -> Result<Self> {
        // The lock on this row serializes all writers: revisions are committed in order, and what a writer
        // has read does not change until it commits.
        let next = revision::Entity::update_many()
            .col_expr(revision::Column::Value, Expr::col(revision::Column::Value).add(1))
            .exec_with_returning(&transaction)
            .await?;
        let next = next.first().ok_or_else(|| DbErr::RecordNotFound("the revision".into()))?;
        Ok(Self {
            revision: next.value.cast_unsigned(),
            transaction,
            keyring,
            now_ms: now_ms(),
            changes: Vec::new(),
            changes_kept,
            newest,
            _turn: turn,
        })
    }

    /// Reads the database, including the changes of this write.
    pub(crate) fn read(&self) -> Reader<'_> {
        Reader { db: (&self.transaction).into(), keyring: &self.keyring }
    }

    /// The registry's revision before this write.
    pub(crate) fn revision_before(&self) -> u64 {
        self.revision - 1
    }

    /// Records a change for the watchers.
    pub(super) fn changed(&mut self, change: change::Change) {
        self.changes.push(Change { change: Some(change) });
    }

    /// Commits the write and notifies the watchers. Returns the revision.
    pub(crate) async fn commit(self) -> Result<u64> {
        let changes = ChangeSet { changes: self.changes };
        changes::append(&self.transaction, self.revision, &changes).await?;
        changes::prune(&self.transaction, self.revision.saturating_sub(self.changes_kept.into())).await?;
        changes::notify(&self.transaction, self.revision).await?;
        self.transaction.commit().await.map_err(DatabaseError::of_commit)?;
        advance(&self.newest, self.revision);
        Ok(self.revision)
    }
}
