//! Databases: PostgreSQL, or SQLite as the embedded default. Each service has tables of its own, and a migrator whose
//! table has a name of its own, so that several services may share one database.

mod connect;
mod error;
mod maintain;
mod pool;
mod space;
mod statements;
mod url;

use sea_orm::{
    ConnectionTrait as _, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, SqliteTransactionMode,
    Statement, TransactionOptions, TransactionTrait as _,
};
use sea_orm_migration::sea_query::{ColumnDef, Table};
use sea_orm_migration::{MigratorTrait, SchemaManager};

use crate::shutdown::Tasks;

pub use self::connect::connect;
pub use self::error::{DatabaseError, Result};
pub use self::maintain::{Maintain, maintain};
pub use self::pool::show_pool;
pub use self::space::DiskSpace;
pub use self::url::DatabaseUrl;

/// The key of the advisory lock under which one of several replicas migrates a PostgreSQL database.
const MIGRATION_LOCK: i64 = 0x0066_756e_6c65_7373;

/// Migrates the schema. Replicas may do so at the same time.
pub async fn migrate<M: MigratorTrait>(db: &DatabaseConnection) -> Result<()> {
    let transaction = begin_write(db).await?;
    if transaction.get_database_backend() == DbBackend::Postgres {
        let lock = "SELECT pg_advisory_xact_lock($1)";
        let lock = Statement::from_sql_and_values(DbBackend::Postgres, lock, [MIGRATION_LOCK.into()]);
        transaction.execute_raw(lock).await?;
    }
    M::up(&transaction, None).await?;
    Ok(transaction.commit().await?)
}

/// A migration that adds a column `traceparent` to these tables: the span that is continued or linked to later, or
/// null.
pub async fn add_traceparent(manager: &SchemaManager<'_>, tables: &[&'static str]) -> Result<(), DbErr> {
    for table in tables {
        let mut column = ColumnDef::new("traceparent");
        let added = Table::alter().table(*table).add_column(column.text().null()).take();
        manager.alter_table(added).await?;
    }
    Ok(())
}

/// Closes the connections after all tasks have ended. SQLite then merges its write-ahead log into the database's file,
/// so that the file alone is a complete copy.
pub fn close_at_end(db: &DatabaseConnection, tasks: &Tasks) {
    let db = db.clone();
    tasks.at_end(async move {
        if let Err(error) = db.close().await {
            tracing::warn!(%error, "the database could not be closed");
        }
    });
}

/// Begins a transaction that writes.
pub async fn begin_write(db: &DatabaseConnection) -> Result<DatabaseTransaction> {
    // A deferred transaction of SQLite that turns to writing can fail; an immediate one waits.
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    Ok(db.begin_with_options(options).await?)
}
