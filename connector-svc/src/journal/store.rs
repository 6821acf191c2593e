//! The database, and the queue of writes to it.

use std::sync::Arc;

use mesh::backoff::Backoff;
use mesh::database::{self, DatabaseError, DatabaseUrl, DiskSpace};
use mesh::group_commit::{Closed, GroupCommit};
use mesh::shutdown::Tasks;
use prometheus::Registry;
use sea_orm::{ConnectionTrait as _, DatabaseConnection};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::answer::{POLL_TIMEOUT, Result, within};
use super::change::Write;
use super::commit::Committer;
use super::{entity, migrations};

/// The maximum number of reads that wait for a connection.
const READS_AT_ONCE: usize = 16;

/// The database, and the queue of writes to it.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    pub(super) db: DatabaseConnection,
    reads: Arc<Semaphore>,
    space: DiskSpace,
    group: GroupCommit<Write, u64>,
}

impl Journal {
    /// Opens the database. PostgreSQL need not be available yet. A task of `tasks` commits writes until
    /// [`Journal::close`].
    pub(crate) async fn open(url: &DatabaseUrl, connections: u32, tasks: &Tasks) -> anyhow::Result<Self> {
        let db = database::open(url, connections, "funless-connector", tasks).await?;
        let group = GroupCommit::start(tasks, Committer { db: db.clone() });
        Ok(Self { db, reads: Arc::new(Semaphore::new(READS_AT_ONCE)), space: DiskSpace::of(url), group })
    }

    /// Waits for the turn to read: when many bindings start at the same time, most of them would take memory and wait
    /// for a connection for too long.
    pub(super) async fn turn_to_read(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.reads.acquire().await.ok()
    }

    /// Shows in `metrics` how many connections there are.
    pub(crate) fn show(&self, metrics: &Registry) {
        database::show_pool(metrics, &self.db);
    }

    /// Brings the schema up to date, whatever other replicas do at the same time.
    pub(crate) async fn migrate(&self) -> Result<()> {
        database::migrate::<migrations::Migrator>(&self.db, &entity::tables()).await
    }

    /// Whether the database answers.
    pub(crate) async fn poll(&self) -> Result<()> {
        within(POLL_TIMEOUT, self.db.execute_unprepared("SELECT 1")).await?;
        Ok(())
    }

    /// Writes, retrying until it succeeds: the database will be available again, and each change counts once however
    /// often it is written. Returns how many rows it has changed.
    pub(crate) async fn write(&self, write: Write) -> Result<u64, Closed> {
        let mut backoff = Backoff::reconnect();
        loop {
            match self.try_write(write.clone()).await? {
                Ok(found) => return Ok(found),
                // `try_write` has logged it.
                Err(_) => tokio::time::sleep(backoff.next_wait()).await,
            }
        }
    }

    /// Writes once.
    pub(crate) async fn try_write(&self, write: Write) -> Result<Result<u64>, Closed> {
        let binding_id = write.binding_id.clone();
        let outcome = match self.check_space(&write) {
            Ok(()) => self.group.write(write).await?,
            Err(error) => Err(error),
        };
        match &outcome {
            Ok(_) => {}
            Err(error @ DatabaseError::Failed(_)) => tracing::error!(%error, %binding_id, "a write failed"),
            Err(error) => tracing::debug!(%error, %binding_id, "a write failed"),
        }
        Ok(outcome)
    }

    /// Events are accepted only while there is space to finish them.
    fn check_space(&self, write: &Write) -> Result<()> {
        if write.change.accepts_event() { self.space.check() } else { Ok(()) }
    }

    /// Commits the writes in the queue and accepts no more.
    pub(crate) fn close(&self) {
        self.group.close();
    }
}
