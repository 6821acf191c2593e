//! The connection pool.

use std::time::Duration;

use prometheus::Registry;
use sea_orm::sqlx::{Connection, Error as SqlxError};
use sea_orm::{DatabaseConnection, DbBackend};

use crate::metrics::{read_gauge, read_gauges};

/// How long a call waits for a connection.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether a connection may be used again: one whose transaction was neither committed nor rolled back is closed.
///
/// After a failed COMMIT, as on a full disk, SQLite has rolled back by itself, and the ROLLBACK that sqlx sends fails.
/// sqlx still counts a transaction then, begins the next one with SAVEPOINT, and its commits release only that: they
/// report success and write nothing.
pub(super) async fn is_out_of_transaction<C: Connection>(connection: &mut C) -> Result<bool, SqlxError> {
    if connection.is_in_transaction() {
        // Statements are executed in order: afterwards a rollback that was under way has ended.
        connection.ping().await?;
    }
    Ok(!connection.is_in_transaction())
}

/// Shows in `registry` how many connections `db` has, and how many it may have. The pool does not say how many calls
/// wait for a connection; calls wait when all of them are in use.
pub fn show_pool(registry: &Registry, db: &DatabaseConnection) {
    let pool = db.clone();
    let help = "Connections to the database, in use and idle.";
    read_gauges(registry, "funless_database_connections", help, &["state"], move || {
        let (open, idle, _) = sizes(&pool);
        let states = [("in_use", open - idle), ("idle", idle)];
        states.map(|(state, count)| (vec![state.to_owned()], count)).into()
    });
    let pool = db.clone();
    let help = "The maximum number of connections to the database.";
    read_gauge(registry, "funless_database_connections_limit", help, &[], move || sizes(&pool).2);
}

/// The numbers of open and idle connections, and the maximum.
fn sizes(db: &DatabaseConnection) -> (f64, f64, f64) {
    let (open, idle, most) = match db.get_database_backend() {
        DbBackend::Postgres => {
            let pool = db.get_postgres_connection_pool();
            (pool.size(), pool.num_idle(), pool.options().get_max_connections())
        }
        _ => {
            let pool = db.get_sqlite_connection_pool();
            (pool.size(), pool.num_idle(), pool.options().get_max_connections())
        }
    };
    // The two numbers are not read at the same moment.
    let idle = u32::try_from(idle).unwrap_or(u32::MAX).min(open);
    (open.into(), idle.into(), most.into())
}
