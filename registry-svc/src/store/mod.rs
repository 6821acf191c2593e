//! The registry's database: PostgreSQL, or SQLite as the embedded default. Only this module uses SQL, and its
//! entities are private.
//!
//! [`Store::read`] and [`Store::snapshot`] return a [`Reader`], [`Store::write`] returns a [`Write`]. Their
//! queries are in `queries`, by table.

mod changes;
mod entity;
mod migrations;
mod notifications;
mod queries;
mod renewals;
mod sealing;
#[cfg(test)]
pub(crate) mod tests;
mod write;

use std::sync::Arc;
use std::time::Duration;

use mesh::database::{self, DatabaseUrl, DiskSpace};
pub(crate) use mesh::database::{DatabaseError, Result};
use mesh::shutdown::Tasks;
use prometheus::Registry;
use sea_orm::{
    AccessMode, DatabaseConnection, DatabaseExecutor, DatabaseTransaction, DbBackend, EntityTrait as _,
    IsolationLevel, TransactionTrait as _,
};
use tokio::sync::{Mutex, watch};

pub(crate) use self::changes::LoggedChanges;
pub(crate) use self::queries::bindings::{BindingCursor, RoleBindings};
pub(crate) use self::queries::code::CODE_CHUNK_BYTES;
pub(crate) use self::queries::functions::FunctionBindings;
pub(crate) use self::queries::leases::{Holder, LeaseWrite};
pub(crate) use self::renewals::Renewals;
pub(crate) use self::write::Write;
use crate::keyring::Keyring;

/// How long [`Store::refresh`] waits for a database that does not answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The database and its newest known revision.
pub(crate) struct Store {
    db: DatabaseConnection,
    space: DiskSpace,
    url: DatabaseUrl,
    /// Serializes the writers of this process, so that waiting writers do not occupy database connections.
    turn: Arc<Mutex<()>>,
    /// Serializes the writers of leases. With SQLite it is `turn`, because SQLite has only one writer.
    lease_turn: Arc<Mutex<()>>,
    keyring: Arc<Keyring>,
    changes_kept: u32,
    newest: Arc<watch::Sender<u64>>,
}

impl Store {
    /// Opens the database. PostgreSQL may still be unavailable.
    pub(crate) async fn open(
        url: &DatabaseUrl,
        connections: u32,
        changes_kept: u32,
        keyring: Keyring,
        tasks: &Tasks,
    ) -> anyhow::Result<Self> {
        let turn = Arc::default();
        let lease_turn = match url {
            DatabaseUrl::Postgres(_) => Arc::default(),
            DatabaseUrl::SqliteFile(_) | DatabaseUrl::SqliteMemory => Arc::clone(&turn),
        };
        let db = database::open(url, connections, "funless-registry", tasks).await?;
        Ok(Self {
            db,
            space: DiskSpace::of(url),
            url: url.clone(),
            turn,
            lease_turn,
            keyring: Arc::new(keyring),
            changes_kept,
            newest: Arc::new(watch::Sender::new(0)),
        })
    }

    /// Registers metrics of the connection pool.
    pub(crate) fn show(&self, metrics: &Registry) {
        database::show_pool(metrics, &self.db);
    }

    /// Migrates the schema and encrypts bindings with the current key. Replicas may do so concurrently.
    pub(crate) async fn prepare(&self) -> Result<()> {
        database::migrate::<migrations::Migrator>(&self.db, &entity::tables()).await?;
        self.seal_bindings().await
    }

    /// Whether parameters of bindings can be stored.
    pub(crate) fn can_encrypt(&self) -> bool {
        self.keyring.has_key()
    }

    /// Reads without a transaction.
    pub(crate) fn read(&self) -> Reader<'_> {
        Reader { db: (&self.db).into(), keyring: &self.keyring }
    }

    /// Begins a read-only transaction, in which all statements see the same state.
    pub(crate) async fn snapshot(&self) -> Result<Snapshot> {
        let transaction = match self.db.get_database_backend() {
            DbBackend::Postgres => {
                let isolation = Some(IsolationLevel::RepeatableRead);
                self.db.begin_with_config(isolation, Some(AccessMode::ReadOnly)).await?
            }
            // A transaction of SQLite always sees a snapshot.
            _ => self.db.begin().await?,
        };
        Ok(Snapshot { transaction, keyring: Arc::clone(&self.keyring) })
    }

    /// Begins a write: takes the next revision, whose lock serializes the writers of all replicas.
    /// Unavailable while disk space is short.
    pub(crate) async fn write(&self) -> Result<Write> {
        self.space.check()?;
        self.write_removal().await
    }

    /// Begins a write that removes something, also while disk space is short.
    pub(crate) async fn write_removal(&self) -> Result<Write> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let transaction = database::begin_write(&self.db).await?;
        let keyring = Arc::clone(&self.keyring);
        Write::begin(transaction, keyring, self.changes_kept, Arc::clone(&self.newest), turn).await
    }

    /// Reads the newest revision from the database. Fails if the database does not answer in time.
    pub(crate) async fn refresh(&self) -> Result<()> {
        let reader = self.read();
        let revision = tokio::time::timeout(ANSWER_TIMEOUT, reader.revision()).await;
        let revision = revision.map_err(|_| DatabaseError::Unavailable("it does not answer".into()))??;
        advance(&self.newest, revision);
        Ok(())
    }

    /// Subscribes to the newest known revision.
    pub(crate) fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }
}

/// Raises the newest known revision. Notifications may arrive out of order.
fn advance(newest: &watch::Sender<u64>, revision: u64) {
    newest.send_if_modified(|newest| std::mem::replace(newest, revision.max(*newest)) < revision);
}

/// A consistent snapshot of the database.
pub(crate) struct Snapshot {
    transaction: DatabaseTransaction,
    keyring: Arc<Keyring>,
}

impl Snapshot {
    /// Reads from the snapshot.
    pub(crate) fn read(&self) -> Reader<'_> {
        Reader { db: (&self.transaction).into(), keyring: &self.keyring }
    }
}

/// Reads from the database; see `queries`.
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
