//! Opening a database.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use sea_orm::sqlx::ConnectOptions as _;
use sea_orm::sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sea_orm::{DatabaseConnection, SqlxPostgresConnector, SqlxSqliteConnector};

use super::DatabaseUrl;

/// How long a call waits for a free connection, or for a new one.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a writer waits for another process that writes to the same file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a statement waits for a lock, in milliseconds.
const LOCK_TIMEOUT_MS: &str = "10000";
/// A replica that stops in the middle of a write lets go of its turn, in milliseconds.
const IDLE_TRANSACTION_TIMEOUT_MS: &str = "30000";

/// A pool of connections. SQLite is opened at once, PostgreSQL with the first call.
pub(super) async fn connect(url: &DatabaseUrl, connections: u32) -> anyhow::Result<DatabaseConnection> {
    match url {
        DatabaseUrl::SqliteFile(path) => {
            prepare_file(path).with_context(|| format!("database_url: {}", path.display()))?;
            let options = SqliteConnectOptions::new()
                .filename(path)
                .journal_mode(SqliteJournalMode::Wal)
                // What was acknowledged survives a loss of power.
                .synchronous(SqliteSynchronous::Full)
                .foreign_keys(true)
                .busy_timeout(BUSY_TIMEOUT)
                .disable_statement_logging();
            let pool = SqlitePoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE_TIMEOUT);
            let pool = pool.connect_with(options).await;
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
                .application_name("funless-registry")
                .options([
                    ("lock_timeout", LOCK_TIMEOUT_MS),
                    ("idle_in_transaction_session_timeout", IDLE_TRANSACTION_TIMEOUT_MS),
                ])
                .disable_statement_logging();
            let pool = PgPoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE_TIMEOUT);
            Ok(SqlxPostgresConnector::from_sqlx_postgres_pool(pool.connect_lazy_with(options)))
        }
    }
}

/// Creates the file and what leads to it, for its owner only. SQLite's other files take after it.
fn prepare_file(path: &Path) -> std::io::Result<()> {
    if let Some(parent) = path.parent()
        && !parent.as_os_str().is_empty()
    {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))
}
