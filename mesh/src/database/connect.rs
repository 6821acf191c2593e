//! Opening a database.

use anyhow::Context as _;
use sea_orm::sqlx::ConnectOptions as _;
use sea_orm::sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sea_orm::{DatabaseConnection, SqlxPostgresConnector, SqlxSqliteConnector};

use super::pool::{ACQUIRE_TIMEOUT, is_out_of_transaction};
use super::{DatabaseUrl, sqlite, statements};
use crate::shutdown::Tasks;

/// How long a statement waits for a lock, in milliseconds.
const LOCK_TIMEOUT_MS: &str = "10000";
/// After how long PostgreSQL aborts the transaction of a replica that stopped in the middle of it, in milliseconds.
const IDLE_TRANSACTION_TIMEOUT_MS: &str = "30000";

/// Opens the database of a service, whose `tasks` look after it and close it at the end. See [`connect`].
pub async fn open(
    url: &DatabaseUrl,
    connections: u32,
    application: &str,
    tasks: &Tasks,
) -> anyhow::Result<DatabaseConnection> {
    let db = connect(url, connections, application).await?;
    if let DatabaseUrl::SqliteFile(path) = url {
        sqlite::mark(path).await;
        tasks.spawn_until_done(sqlite::keep_compact(path.clone(), tasks.stopping().clone()));
        tasks.at_end(sqlite::complete(db.clone()));
    }
    let closing = db.clone();
    tasks.at_end(async move {
        if let Err(error) = closing.close().await {
            tracing::warn!(%error, "the database could not be closed");
        }
    });
    Ok(db)
}

/// Opens a pool of connections: to SQLite at once, to PostgreSQL with the first call. `application` names this service
/// in PostgreSQL.
pub async fn connect(
    url: &DatabaseUrl,
    connections: u32,
    application: &str,
) -> anyhow::Result<DatabaseConnection> {
    let mut db = open_pool(url, connections, application).await?;
    statements::trace(&mut db);
    Ok(db)
}

async fn open_pool(
    url: &DatabaseUrl,
    connections: u32,
    application: &str,
) -> anyhow::Result<DatabaseConnection> {
    match url {
        DatabaseUrl::SqliteFile(path) => {
            let opened = sqlite::open(path, connections).await;
            opened.with_context(|| format!("database_url: {}", path.display()))
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
