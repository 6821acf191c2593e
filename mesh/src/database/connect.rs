//! Opening a database.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use sea_orm::sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sea_orm::sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sea_orm::sqlx::{ConnectOptions as _, Connection, Error as SqlxError};
use sea_orm::{DatabaseConnection, SqlxPostgresConnector, SqlxSqliteConnector};

use super::error::is_busy;
use super::{DatabaseUrl, statements};
use crate::backoff::Backoff;

/// How long a call waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a writer waits for another process that writes to the same file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a statement waits for a lock, in milliseconds.
const LOCK_TIMEOUT_MS: &str = "10000";
/// After how long PostgreSQL aborts the transaction of a replica that stopped in the middle of it, in milliseconds.
const IDLE_TRANSACTION_TIMEOUT_MS: &str = "30000";

/// Opens a pool of connections: to SQLite at once, to PostgreSQL with the first call. `application` names this service
/// in PostgreSQL.
pub async fn connect(
    url: &DatabaseUrl,
    connections: u32,
    application: &str,
) -> anyhow::Result<DatabaseConnection> {
    let mut db = open(url, connections, application).await?;
    statements::trace(&mut db);
    Ok(db)
}

async fn open(url: &DatabaseUrl, connections: u32, application: &str) -> anyhow::Result<DatabaseConnection> {
    match url {
        DatabaseUrl::SqliteFile(path) => {
            prepare_file(path).with_context(|| format!("database_url: {}", path.display()))?;
            let options = SqliteConnectOptions::new()
                .filename(path)
                .journal_mode(SqliteJournalMode::Wal)
                // Committed writes survive a power failure.
                .synchronous(SqliteSynchronous::Full)
                .foreign_keys(true)
                .busy_timeout(BUSY_TIMEOUT)
                .disable_statement_logging();
            let pool = SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(ACQUIRE_TIMEOUT)
                .after_release(|connection, _| Box::pin(is_out_of_transaction(connection)));
            let pool = connect_sqlite(&pool, &options).await;
            let pool = pool.with_context(|| format!("database_url: {}", path.display()))?;
            Ok(SqlxSqliteConnector::from_sqlx_sqlite_pool(pool))
        }
        DatabaseUrl::SqliteMemory => {
            let options = SqliteConnectOptions::new().in_memory(true).foreign_keys(true);
            // The database is the connection.
            let pool = SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
            let pool = pool.connect_with(options.disable_statement_logging()).await?;
            Ok(SqlxSqliteConnector::from_sqlx_sqlite_pool(pool))
        }
        DatabaseUrl::Postgres(url) => {
            let options: PgConnectOptions = url.parse().context("database_url")?;
            let options = options
                .application_name(application)
                .options([
                    ("lock_timeout", LOCK_TIMEOUT_MS),
                    ("idle_in_transaction_session_timeout", IDLE_TRANSACTION_TIMEOUT_MS),
                ])
                .disable_statement_logging();
            let pool = PgPoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(ACQUIRE_TIMEOUT)
                .after_release(|connection, _| Box::pin(is_out_of_transaction(connection)));
            Ok(SqlxPostgresConnector::from_sqlx_postgres_pool(pool.connect_lazy_with(options)))
        }
    }
}

/// Whether a connection may be used again: one whose transaction was neither committed nor rolled back is closed.
///
/// After a failed COMMIT, as on a full disk, SQLite has rolled back by itself, and the ROLLBACK that sqlx sends fails.
/// sqlx still counts a transaction then, begins the next one with SAVEPOINT, and its commits release only that: they
/// report success and write nothing.
async fn is_out_of_transaction<C: Connection>(connection: &mut C) -> Result<bool, SqlxError> {
    if connection.is_in_transaction() {
        // Statements are executed in order: afterwards a rollback that was under way has ended.
        connection.ping().await?;
    }
    Ok(!connection.is_in_transaction())
}

/// Retries while another process creates the same database: there SQLite itself does not wait.
async fn connect_sqlite(
    pool: &SqlitePoolOptions,
    options: &SqliteConnectOptions,
) -> Result<SqlitePool, SqlxError> {
    let mut backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(100));
    let patience = Instant::now() + BUSY_TIMEOUT;
    loop {
        match pool.clone().connect_with(options.clone()).await {
            Err(error) if is_busy(&error) && Instant::now() < patience => {
                tokio::time::sleep(backoff.next_wait()).await;
            }
            connected => return connected,
        }
    }
}

/// Creates the file and its directories, accessible to their owner only. SQLite gives its other files the same mode.
fn prepare_file(path: &Path) -> std::io::Result<()> {
    if let Some(parent) = path.parent()
        && !parent.as_os_str().is_empty()
    {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))
}
