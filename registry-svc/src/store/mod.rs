//! The database of record: PostgreSQL, or SQLite as the embedded default. Only this module knows
//! SQL, and its entities stay inside.
//!
//! [`Store::read`] and [`Store::snapshot`] give a [`Reader`], [`Store::write`] gives a [`Write`];
//! `queries` has what both can do, by noun.

mod changes;
mod entity;
mod migrations;
mod notifications;
mod queries;
mod sealing;
mod write;

use std::sync::Arc;
use std::time::Duration;

use mesh::database::{self, DatabaseUrl};
pub(crate) use mesh::database::{DatabaseError, Result};
use prometheus::Registry;
use sea_orm::{
    AccessMode, DatabaseConnection, DatabaseExecutor, DatabaseTransaction, DbBackend, EntityTrait as _,
    IsolationLevel, TransactionTrait as _,
};
use tokio::sync::{Mutex, watch};

pub(crate) use self::changes::LoggedChanges;
pub(crate) use self::queries::bindings::RoleBindings;
pub(crate) use self::queries::functions::FunctionBindings;
pub(crate) use self::queries::leases::{Holder, LeaseWrite};
pub(crate) use self::write::Write;
use crate::keyring::Keyring;

/// How long [`Store::refresh`] waits for a database that does not answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// A database, and the newest revision that is known of it.
pub(crate) struct Store {
    db: DatabaseConnection,
    url: DatabaseUrl,
    /// Writers of this process wait here for their turn, in order, and not each with a connection
    /// inside the database.
    turn: Arc<Mutex<()>>,
    /// The same for those who write leases. SQLite has one writer for everything.
    lease_turn: Arc<Mutex<()>>,
    keyring: Arc<Keyring>,
    changes_kept: u32,
    newest: Arc<watch::Sender<u64>>,
}

impl Store {
    /// Opens the database. PostgreSQL need not be there yet.
    pub(crate) async fn open(
        url: &DatabaseUrl,
        connections: u32,
        changes_kept: u32,
        keyring: Keyring,
    ) -> anyhow::Result<Self> {
        let turn = Arc::default();
        let lease_turn = match url {
            DatabaseUrl::Postgres(_) => Arc::default(),
            DatabaseUrl::SqliteFile(_) | DatabaseUrl::SqliteMemory => Arc::clone(&turn),
        };
        Ok(Self {
            db: database::connect(url, connections, "funless-registry").await?,
            url: url.clone(),
            turn,
            lease_turn,
            keyring: Arc::new(keyring),
            changes_kept,
            newest: Arc::new(watch::Sender::new(0)),
        })
    }

    /// Shows in `metrics` how many connections there are.
    pub(crate) fn show(&self, metrics: &Registry) {
        database::show_pool(metrics, &self.db);
    }

    /// Brings the schema and what is encrypted up to date, whatever other replicas do at the same time.
    pub(crate) async fn prepare(&self) -> Result<()> {
        database::migrate::<migrations::Migrator>(&self.db).await?;
        self.seal_bindings().await
    }

    /// Whether parameters of bindings can be stored.
    pub(crate) fn can_encrypt(&self) -> bool {
        self.keyring.has_key()
    }

    /// Reads, each statement by itself.
    pub(crate) fn read(&self) -> Reader<'_> {
        Reader { db: (&self.db).into(), keyring: &self.keyring }
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
        Ok(Snapshot { transaction, keyring: Arc::clone(&self.keyring) })
    }

    /// Writes: takes the next revision, and with it the turn among all writers of all replicas.
    pub(crate) async fn write(&self) -> Result<Write> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let transaction = database::begin_write(&self.db).await?;
        let keyring = Arc::clone(&self.keyring);
        Write::begin(transaction, keyring, self.changes_kept, Arc::clone(&self.newest), turn).await
    }

    /// Asks the database for its newest revision.
    pub(crate) async fn refresh(&self) -> Result<()> {
        let reader = self.read();
        let revision = tokio::time::timeout(ANSWER_TIMEOUT, reader.revision()).await;
        let revision = revision.map_err(|_| DatabaseError::Unavailable("it does not answer".into()))??;
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
    keyring: Arc<Keyring>,
}

impl Snapshot {
    /// Reads it.
    pub(crate) fn read(&self) -> Reader<'_> {
        Reader { db: (&self.transaction).into(), keyring: &self.keyring }
    }
}

/// What can be read; see `queries`.
pub(crate) struct Reader<'a> {
    db: DatabaseExecutor<'a>,
    keyring: &'a Keyring,
}

impl Reader<'_> {
    /// The revision of the last write.
    pub(crate) async fn revision(&self) -> Result<u64> {
        let row = entity::revision::Entity::find().one(&self.db).await?;
        Ok(row.map_or(0, |row| row.value.cast_unsigned()))
    }
}
