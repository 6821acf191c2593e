//! The change log: the changes of each recent revision.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use prost::Message as _;
use proto::registry::v1::ChangeSet;
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, ConnectionTrait as _, DatabaseTransaction, DbBackend,
    EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Set, Statement,
};

use super::entity::change_log;
use super::notifications::CHANNEL;
use super::{DatabaseError, Reader, Result};

/// The maximum size of logged changes. Larger ones are not logged, so that the memory for a watch stays
/// bounded; watchers get a snapshot instead.
const MAX_LOGGED_BYTES: usize = 1 << 20;

/// The changes of one revision.
pub(crate) struct LoggedChanges {
    pub(crate) revision: u64,
    /// `None` if the changes were too large to log.
    pub(crate) changes: Option<ChangeSet>,
}

pub(super) async fn append(
    transaction: &DatabaseTransaction,
    revision: u64,
    changes: &ChangeSet,
) -> Result<()> {
    let body = (changes.encoded_len() <= MAX_LOGGED_BYTES).then(|| changes.encode_to_vec());
    let row = change_log::ActiveModel { revision: Set(revision.cast_signed()), body: Set(body) };
    row.insert(transaction).await?;
    Ok(())
}

/// Deletes the revisions up to this one. Each write deletes one row, by primary key.
pub(super) async fn prune(transaction: &DatabaseTransaction, up_to: u64) -> Result<()> {
    let old = change_log::Column::Revision.lte(up_to.cast_signed());
    change_log::Entity::delete_many().filter(old).exec(transaction).await?;
    Ok(())
}

/// Notifies other replicas when the transaction commits.
pub(super) async fn notify(transaction: &DatabaseTransaction, revision: u64) -> Result<()> {
    if transaction.get_database_backend() == DbBackend::Postgres {
        let values = [CHANNEL.into(), revision.to_string().into()];
        let notify = Statement::from_sql_and_values(DbBackend::Postgres, "SELECT pg_notify($1, $2)", values);
        transaction.execute_raw(notify).await?;
    }
    Ok(())
}

impl Reader<'_> {
    /// The changes of at most `limit` revisions after `revision`, in order.
    pub(crate) async fn changes_after(&self, revision: u64, limit: u64) -> Result<Vec<LoggedChanges>> {
        let rows = change_log::Entity::find()
            .filter(change_log::Column::Revision.gt(revision.cast_signed()))
            .order_by_asc(change_log::Column::Revision)
            .limit(limit)
            .all(&self.db)
            .await?;
        rows.into_iter().map(decode).collect()
    }

    /// Tells the changes of this revision from others. `None` if they are not in the log.
    pub(crate) async fn fingerprint(&self, revision: u64) -> Result<Option<u64>> {
        let row = change_log::Entity::find_by_id(revision.cast_signed()).one(&self.db).await?;
        Ok(row.map(|row| {
            let mut hasher = DefaultHasher::new();
            row.body.hash(&mut hasher);
            hasher.finish()
        }))
    }
}

fn decode(row: change_log::Model) -> Result<LoggedChanges> {
    let changes = row.body.map(|body| ChangeSet::decode(body.as_slice())).transpose();
    let changes = changes
        .map_err(|error| DatabaseError::Failed(format!("the change log at {}: {error}", row.revision)))?;
    Ok(LoggedChanges { revision: row.revision.cast_unsigned(), changes })
}
