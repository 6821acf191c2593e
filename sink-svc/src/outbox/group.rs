//! Groups of changes, each group one transaction.

use mesh::database::{self, DatabaseError, Result};
use mesh::group_commit::Commit;

use super::Tables;
use super::changes::{Change, Ledgers};

impl Commit for Tables {
    type Write = Change;
    /// How many rows the change has changed.
    type Outcome = u64;

    async fn commit(&self, changes: &[Change]) -> Result<Vec<u64>> {
        let transaction = database::begin_write(&self.db).await?;
        let mut ledgers = Ledgers::default();
        let counts = self.apply(&transaction, changes, &mut ledgers).await?;
        // Last, since replicas contend for these rows: each locks them only while it commits.
        ledgers.write(&transaction).await?;
        transaction.commit().await.map_err(DatabaseError::of_commit)?;
        self.committed(changes, &ledgers);
        Ok(counts)
    }
}

impl Tables {
    /// Updates the state that this process keeps in memory.
    fn committed(&self, changes: &[Change], ledgers: &Ledgers) {
        self.capacity.changed(ledgers.waiting());
        {
            let mut known = self.known.lock();
            for (binding_id, function) in changes.iter().flat_map(Change::functions) {
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
