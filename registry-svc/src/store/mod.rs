//! The database of record: PostgreSQL, or SQLite as the embedded default. Only this module knows
//! SQL, and its entities stay inside.
//!
//! [`Store::read`] and [`Store::snapshot`] give a [`Reader`], [`Store::write`] gives a [`Write`];
//! `queries` has what both can do, by noun.

mod changes;
mod connect;
mod entity;
mod error;
mod migrations;
mod notifications;
mod queries;
mod url;
mod write;

use std::sync::Arc;
use std::time::Duration;

use sea_orm::{
    AccessMode, ConnectionTrait as _, DatabaseConnection, DatabaseExecutor, DatabaseTransaction, DbBackend,
    EntityTrait as _, IsolationLevel, SqliteTransactionMode, Statement, TransactionOptions,
    TransactionTrait as _,
};
use sea_orm_migration::MigratorTrait as _;
use tokio::sync::{Mutex, watch};

pub(crate) use self::changes::LoggedChanges;
pub(crate) use self::error::{Result, StoreError};
pub(crate) use self::queries::functions::FunctionBindings;
pub use self::url::DatabaseUrl;
pub(crate) use self::write::Write;

/// The key of the advisory lock under which one of several replicas migrates a PostgreSQL database.
const MIGRATION_LOCK: i64 = 0x0066_756e_6c65_7373;

/// How long [`Store::refresh`] waits for a database that does not answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// A database, and the newest revision that is known of it.
pub(crate) struct Store {
    db: DatabaseConnection,
    url: DatabaseUrl,
    /// Writers of this process wait here for their turn, in order, and not each with a connection
    /// inside the database.
    turn: Arc<Mutex<()>>,
    changes_kept: u32,
    newest: Arc<watch::Sender<u64>>,
}

impl Store {
    /// Opens the database. PostgreSQL need not be there yet.
    pub(crate) async fn open(url: &DatabaseUrl, connections: u32, changes_kept: u32) -> anyhow::Result<Self> {
        Ok(Self {
            db: connect::connect(url, connections).await?,
            url: url.clone(),
            turn: Arc::default(),
            changes_kept,
            newest: Arc::new(watch::Sender::new(0)),
        })
    }

    /// Brings the schema up to date, whatever other replicas do at the same time.
    pub(crate) async fn migrate(&self) -> Result<()> {
        let transaction = self.begin_write().await?;
        if transaction.get_database_backend() == DbBackend::Postgres {
            let lock = "SELECT pg_advisory_xact_lock($1)";
            let lock = Statement::from_sql_and_values(DbBackend::Postgres, lock, [MIGRATION_LOCK.into()]);
            transaction.execute_raw(lock).await?;
        }
        migrations::Migrator::up(&transaction, None).await?;
        Ok(transaction.commit().await?)
    }

    /// Reads, each statement by itself.
    pub(crate) fn read(&self) -> Reader<'_> {
        Reader { db: (&self.db).into() }
    }

    /// Reads the state of one moment with several statements.
    pub(crate) async fn snapshot(&self) -> Result<Snapshot> {
        let transaction = match self.db.get_database_backend() {
            DbBackend::Postgres => {
                let isolation = Some(IsolationLevel::RepeatableRead);
                self.db.begin_with_config(isolation, Some(AccessMode::ReadOnly)).await?
            }
            // A transaction of SQLite always is one.
            _ => self.db.begin().await?,
        };
        Ok(Snapshot { transaction })
    }

    /// Writes: takes the next revision, and with it the turn among all writers of all replicas.
    pub(crate) async fn write(&self) -> Result<Write> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let transaction = self.begin_write().await?;
        Write::begin(transaction, self.changes_kept, Arc::clone(&self.newest), turn).await
    }

    async fn begin_write(&self) -> Result<DatabaseTransaction> {
        // A deferred transaction of SQLite that turns to writing can fail; an immediate one waits.
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        Ok(self.db.begin_with_options(options).await?)
    }

    /// Asks the database for its newest revision.
    pub(crate) async fn refresh(&self) -> Result<()> {
        let reader = self.read();
        let revision = tokio::time::timeout(ANSWER_TIMEOUT, reader.revision()).await;
        let revision = revision.map_err(|_| StoreError::Unavailable("it does not answer".into()))??;
        advance(&self.newest, revision);
        Ok(())
    }

    /// Follows the newest revision that is known here.
    pub(crate) fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }
}

/// A revision is known to exist. What says so may come late.
fn advance(newest: &watch::Sender<u64>, revision: u64) {
    newest.send_if_modified(|newest| std::mem::replace(newest, revision.max(*newest)) < revision);
}

/// The state of one moment.
pub(crate) struct Snapshot {
    transaction: DatabaseTransaction,
}

impl Snapshot {
    /// Reads it.
    pub(crate) fn read(&self) -> Reader<'_> {
        Reader { db: (&self.transaction).into() }
    }
}

/// What can be read; see `queries`.
pub(crate) struct Reader<'a> {
    db: DatabaseExecutor<'a>,
}

impl Reader<'_> {
    /// The revision of the last write.
    pub(crate) async fn revision(&self) -> Result<u64> {
        let row = entity::revision::Entity::find().one(&self.db).await?;
        Ok(row.map_or(0, |row| row.value.cast_unsigned()))
    }
}
