//! Groups of changes, each group one transaction.

use std::collections::BTreeMap;

use mesh::clock::now_ms;
use mesh::database::{self, DatabaseError};
use sea_orm::DatabaseConnection;
use tokio::sync::oneshot;

use super::answer::{ANSWER_TIMEOUT, Result};
use super::change::Write;
use super::write::{Batch, BindingWriter};

/// A write, and who waits for it.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) write: Write,
    pub(super) committed: oneshot::Sender<Result<u64>>,
}

/// Writes a group in one transaction. When one of them cannot be written, the others are, each by itself.
pub(super) async fn commit(db: &DatabaseConnection, group: Vec<Submission>) {
    let (writes, callers): (Vec<_>, Vec<_>) =
        group.into_iter().map(|submission| (submission.write, submission.committed)).unzip();
    match commit_in_time(db, &writes).await {
        Ok(found) => tell(callers, found.into_iter().map(Ok)),
        Err(DatabaseError::Failed(_)) if writes.len() > 1 => commit_apart(db, writes, callers).await,
        Err(error) => {
            log_failure(&error, &writes);
            tell(callers, std::iter::repeat(Err(error)));
        }
    }
}

/// Writes each by itself, as long as the database answers.
async fn commit_apart(
    db: &DatabaseConnection,
    writes: Vec<Write>,
    callers: Vec<oneshot::Sender<Result<u64>>>,
) {
    let mut away = None;
    for (write, caller) in writes.into_iter().zip(callers) {
        let outcome = match &away {
            Some(error) => Err(DatabaseError::clone(error)),
            None => commit_in_time(db, std::slice::from_ref(&write)).await.map(|found| found[0]),
        };
        if let Err(error) = &outcome
            && away.is_none()
        {
            log_failure(error, &[write]);
            away = (!matches!(error, DatabaseError::Failed(_))).then(|| error.clone());
        }
        tell(vec![caller], [outcome]);
    }
}

fn log_failure(error: &DatabaseError, writes: &[Write]) {
    match error {
        DatabaseError::Failed(_) => {
            tracing::error!(%error, binding = &*writes[0].binding_id, "not written");
        }
        _ => tracing::debug!(%error, writes = writes.len(), "not written yet"),
    }
}

fn tell(callers: Vec<oneshot::Sender<Result<u64>>>, outcomes: impl IntoIterator<Item = Result<u64>>) {
    for (caller, outcome) in callers.into_iter().zip(outcomes) {
        // Who went away does not want to know.
        let _ = caller.send(outcome);
    }
}

/// A database that falls silent does not hold up this only writer for ever.
async fn commit_in_time(db: &DatabaseConnection, writes: &[Write]) -> Result<Vec<u64>> {
    let committed = tokio::time::timeout(ANSWER_TIMEOUT, try_commit(db, writes)).await;
    committed.unwrap_or_else(|_| Err(DatabaseError::Uncertain("it does not answer".into())))
}

/// Gives for each write how much it has found of what it changes.
async fn try_commit(db: &DatabaseConnection, writes: &[Write]) -> Result<Vec<u64>> {
    // Ordered, so that two replicas never wait for each other's rows.
    let mut batches = BTreeMap::<&str, Batch<'_>>::new();
    for (index, write) in writes.iter().enumerate() {
        batches.entry(&write.binding_id).or_default().add(index, &write.change);
    }
    let transaction = database::begin_write(db).await?;
    let mut found = vec![1; writes.len()];
    for (binding_id, batch) in &batches {
        let binding = BindingWriter { transaction: &transaction, binding_id, now_ms: now_ms() };
        binding.apply(batch, &mut found).await?;
    }
    transaction.commit().await.map_err(DatabaseError::of_commit)?;
    Ok(found)
}
