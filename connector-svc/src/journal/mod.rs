//! What the connector remembers: events that are in flight, what became of all of them, and those that
//! died. PostgreSQL, which replicas share, or SQLite as the embedded default. Only this module knows SQL,
//! and its entities stay inside.
//!
//! A row of the table in flight is an event of a source that sends again what was not acknowledged. It is
//! there before the function runs and *ended* before the source hears that it need not send it again, so
//! that a repeat is recognised whenever one of the two dies in between; it is *cleared* once the source is
//! known to have heard. The counts of the ledger change in the transaction of the rows that they count,
//! and what is in flight and what is dead is counted in the rows themselves, so that a loss shows.

mod entity;
mod migrations;
mod queries;
#[cfg(test)]
mod tests;
mod write;

use std::time::Duration;

use bytes::Bytes;
use mesh::backoff::Backoff;
use mesh::database::{self, DatabaseError, DatabaseUrl};
use mesh::group_commit::{Closed, GroupCommit};
use mesh::hash::Hash;
use mesh::shutdown::Tasks;
use mesh::telemetry::TraceParent;
use prometheus::Registry;
use proto::deadletter::v1::DeadLetter;
use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbErr};
use tokio::sync::oneshot;
use uuid::Uuid;

pub(crate) use self::queries::dead_letters::LetterPage;
use self::write::Submission;
pub(crate) use self::write::{Change, Write};

/// How long a call waits for a database that has fallen silent.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// How long [`Journal::poll`] does.
const POLL_TIMEOUT: Duration = Duration::from_secs(5);

/// What a call to the journal gives.
pub(crate) type Result<T, E = DatabaseError> = std::result::Result<T, E>;

/// The database, and the group that writes to it.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    db: DatabaseConnection,
    group: GroupCommit<Submission, std::convert::Infallible>,
}

/// An event in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: Uuid,
    /// By which its kind knows it again.
    pub(crate) key: String,
    /// Of what came, when a key alone does not tell.
    pub(crate) fingerprint: Option<Hash>,
    pub(crate) invocation_id: Uuid,
    pub(crate) received_at_ms: i64,
    /// The function's argument, when the source does not send it again.
    pub(crate) args: Option<Bytes>,
    /// The source need not send it again; it may not have heard so.
    pub(crate) ended: bool,
    /// The span of its first receipt.
    pub(crate) trace: Option<TraceParent>,
}

/// A dead letter, and the span that failed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Burial {
    pub(crate) letter: DeadLetter,
    pub(crate) trace: Option<TraceParent>,
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
                write::commit(&writer, group).await;
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

/// What the database says within `limit`.
async fn within<T>(limit: Duration, answer: impl Future<Output = Result<T, DbErr>>) -> Result<T> {
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(DatabaseError::Unavailable("it does not answer".into())),
    }
}

/// What the database says, unless it has fallen silent.
async fn answered<T>(answer: impl Future<Output = Result<T, DbErr>>) -> Result<T> {
    within(ANSWER_TIMEOUT, answer).await
}
