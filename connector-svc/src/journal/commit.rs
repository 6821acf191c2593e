//! Groups of changes, each group one transaction.

use std::collections::BTreeMap;

use mesh::clock::now_ms;
use mesh::database::{self, DatabaseError};
use mesh::group_commit::Commit;
use sea_orm::DatabaseConnection;

use super::answer::Result;
use super::change::Write;
use super::write::{Batch, BindingWriter};

/// Commits groups of writes.
#[derive(Debug)]
pub(super) struct Committer {
    pub(super) db: DatabaseConnection,
}

impl Commit for Committer {
    type Write = Write;
    /// How many rows the write has changed.
    type Outcome = u64;

    async fn commit(&self, writes: &[Write]) -> Result<Vec<u64>> {
        // Ordered, so that two replicas never wait for each other's rows.
        let mut batches = BTreeMap::<&str, Batch<'_>>::new();
        for (index, write) in writes.iter().enumerate() {
            batches.entry(&write.binding_id).or_default().add(index, &write.change);
        }
        let transaction = database::begin_write(&self.db).await?;
        let mut found = vec![1; writes.len()];
        for (binding_id, batch) in &batches {
            let binding = BindingWriter { transaction: &transaction, binding_id, now_ms: now_ms() };
            binding.apply(batch, &mut found).await?;
        }
        transaction.commit().await.map_err(DatabaseError::of_commit)?;
        Ok(found)
    }
}
