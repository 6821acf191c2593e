//! How much of the pool of connections is in use.

use prometheus::Registry;
use sea_orm::{DatabaseConnection, DbBackend};

use crate::metrics::{read_gauge, read_gauges};

/// Shows in `registry` how many connections `db` has, and how many it may have. How many calls wait for one
/// the pool does not tell; they do when all that there may be are in use.
pub fn show_pool(registry: &Registry, db: &DatabaseConnection) {
    let pool = db.clone();
    let help = "Connections to the database, in use and idle.";
    read_gauges(registry, "funless_database_connections", help, &["state"], move || {
        let (open, idle, _) = sizes(&pool);
        let states = [("in_use", open - idle), ("idle", idle)];
        states.map(|(state, count)| (vec![state.to_owned()], count)).into()
    });
    let pool = db.clone();
    let help = "Connections to the database that there may be.";
    read_gauge(registry, "funless_database_connections_limit", help, &[], move || sizes(&pool).2);
}

/// Connections that are open, that are idle, and that may be.
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
    // They are not read at the same moment.
    let idle = u32::try_from(idle).unwrap_or(u32::MAX).min(open);
    (open.into(), idle.into(), most.into())
}
