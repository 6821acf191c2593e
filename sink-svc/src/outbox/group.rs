//! Changes that share a transaction.

use std::time::Duration;

use mesh::database::{self, DatabaseError, Result};
use tokio::sync::oneshot;

use super::Tables;
use super::changes::{Change, Ledgers};

/// How long a transaction may take.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(20);

/// A change, and who waits for its outcome.
#[derive(Debug)]
pub(super) struct Entry {
    change: Change,
    outcome: oneshot::Sender<Result<u64>>,
}

impl Entry {
    pub(super) fn new(change: Change) -> (Self, oneshot::Receiver<Result<u64>>) {
        let (outcome, told) = oneshot::channel();
        (Self { change, outcome }, told)
    }

    fn tell(self, outcome: Result<u64>) {
        // Who went away does not want to know.
        let _ = self.outcome.send(outcome);
    }
}

impl Tables {
    /// Makes the changes durable, and tells each its outcome.
    pub(super) async fn commit(&self, entries: Vec<Entry>) {
        match self.try_commit(&entries).await {
            Ok(counts) => entries.into_iter().zip(counts).for_each(|(entry, count)| entry.tell(Ok(count))),
            // Something of the group is refused; what is right must not suffer for it.
            Err(DatabaseError::Failed(_)) if entries.len() > 1 => {
                for entry in entries {
                    let outcome = self.try_commit(std::slice::from_ref(&entry)).await;
                    entry.tell(outcome.map(|counts| counts.into_iter().sum()));
                }
            }
            Err(error) => entries.into_iter().for_each(|entry| entry.tell(Err(error.clone()))),
        }
    }

    /// One transaction. Gives how many rows each change concerned. A database that has fallen silent does
    /// not hold up what comes after.
    async fn try_commit(&self, entries: &[Entry]) -> Result<Vec<u64>> {
        let committed = tokio::time::timeout(COMMIT_TIMEOUT, self.transact(entries)).await;
        committed.unwrap_or_else(|_| Err(DatabaseError::Uncertain("it does not answer".into())))
    }

    async fn transact(&self, entries: &[Entry]) -> Result<Vec<u64>> {
        let transaction = database::begin_write(&self.db).await?;
        let mut ledgers = Ledgers::default();
        let changes: Vec<_> = entries.iter().map(|entry| &entry.change).collect();
        let counts = self.apply(&transaction, &changes, &mut ledgers).await?;
        // Last, since replicas meet at these rows: each holds them only while it commits.
        ledgers.write(&transaction).await?;
        transaction.commit().await.map_err(DatabaseError::of_commit)?;
        self.committed(&changes, &ledgers);
        Ok(counts)
    }

    /// Tells this process what has changed.
    fn committed(&self, changes: &[&Change], ledgers: &Ledgers) {
        self.capacity.changed(ledgers.waiting());
        {
            let mut known = self.known.lock();
            for (binding_id, function) in changes.iter().flat_map(|change| change.functions()) {
                known.insert(binding_id.to_owned(), function);
            }
        }
        let arrivals = self.arrivals.lock();
        for binding_id in ledgers.with_arrivals() {
            if let Some(waiting) = arrivals.get(binding_id) {
                waiting.notify_one();
            }
        }
    }
}
