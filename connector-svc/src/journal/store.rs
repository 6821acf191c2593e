//! The database, and who writes to it.

use mesh::backoff::Backoff;
use mesh::database::{self, DatabaseUrl};
use mesh::group_commit::{Closed, GroupCommit};
use mesh::shutdown::Tasks;
use prometheus::Registry;
use sea_orm::{ConnectionTrait as _, DatabaseConnection};
use tokio::sync::oneshot;

use super::answer::{POLL_TIMEOUT, Result, within};
use super::change::Write;
use super::commit::{self, Submission};
use super::migrations;

/// The database, and the group that writes to it.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    pub(super) db: DatabaseConnection,
    group: GroupCommit<Submission, std::convert::Infallible>,
}

impl Journal {
    /// Opens the database. PostgreSQL need not be there yet. What is written is written by a task of
    /// `tasks` until [`Journal::close`].
    pub(crate) async fn open(url: &DatabaseUrl, connections: u32, tasks: &Tasks) -> anyhow::Result<Self> {
        let db = database::connect(url, connections, "funless-connector").await?;
        let writer = db.clone();
        let group = GroupCommit::start(tasks, move |group| {
            let writer = writer.clone();
            async move {
                commit::commit(&writer, group).await;
                Ok(())
            }
        });
        Ok(Self { db, group })
    }

    /// Shows in `metrics` how many connections there are.
    pub(crate) fn show(&self, metrics: &Registry) {
        database::show_pool(metrics, &self.db);
    }

    /// Brings the schema up to date, whatever other replicas do at the same time.
    pub(crate) async fn migrate(&self) -> Result<()> {
        database::migrate::<migrations::Migrator>(&self.db).await
    }

    /// Whether the database answers.
    pub(crate) async fn poll(&self) -> Result<()> {
        within(POLL_TIMEOUT, self.db.execute_unprepared("SELECT 1")).await?;
        Ok(())
    }

    /// Writes, as often as it takes: a database that is away comes back, and each change counts once
    /// however often it is written. Gives how much the change has found of what it changes.
    pub(crate) async fn write(&self, write: Write) -> Result<u64, Closed> {
        let mut backoff = Backoff::reconnect();
        loop {
            match self.try_write(write.clone()).await? {
                Ok(found) => return Ok(found),
                // Its own log tells of the failure, once for all that wait.
                Err(_) => tokio::time::sleep(backoff.next_wait()).await,
            }
        }
    }

    /// Writes once.
    pub(crate) async fn try_write(&self, write: Write) -> Result<Result<u64>, Closed> {
        let (committed, outcome) = oneshot::channel();
        let Ok(()) = self.group.write(Submission { write, committed }).await?;
        outcome.await.map_err(|_| Closed)
    }

    /// What waits is written, and nothing after it.
    pub(crate) fn close(&self) {
        self.group.close();
    }
}
