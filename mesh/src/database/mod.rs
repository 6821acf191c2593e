//! Databases: PostgreSQL, or SQLite as the embedded default. Each service has tables of its own, and a migrator whose
//! table has a name of its own, so that several services may share one database.

mod connect;
mod error;
mod maintain;
mod pool;
mod space;
mod sqlite;
mod statements;
mod url;

use sea_orm::{
    ConnectionTrait as _, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, SqliteTransactionMode,
    Statement, TransactionOptions, TransactionTrait as _,
};
use sea_orm_migration::sea_query::{ColumnDef, Table};
use sea_orm_migration::{MigratorTrait, SchemaManager};

pub use self::connect::{connect, open};
pub use self::error::{DatabaseError, Result};
pub use self::maintain::{Maintain, maintain};
pub use self::pool::show_pool;
pub use self::space::DiskSpace;
pub use self::url::DatabaseUrl;

/// The key of the advisory lock under which one of several replicas migrates a PostgreSQL database.
const MIGRATION_LOCK: i64 = 0x0066_756e_6c65_7373;

/// Migrates the schema, which has these tables. Replicas may do so at the same time.
pub async fn migrate<M: MigratorTrait>(db: &DatabaseConnection, tables: &[&str]) -> Result<()> {
    let transaction = begin_write(db).await?;
    if transaction.get_database_backend() == DbBackend::Postgres {
        let lock = "SELECT pg_advisory_xact_lock($1)";
        let lock = Statement::from_sql_and_values(DbBackend::Postgres, lock, [MIGRATION_LOCK.into()]);
        transaction.execute_raw(lock).await?;
    }
    M::up(&transaction, None).await?;
    let schema = SchemaManager::new(&transaction);
    let mut missing = Vec::new();
    for table in tables {
        if !schema.has_table(table).await? {
            missing.push(*table);
        }
    }
    if !missing.is_empty() {
        let missing = missing.join(", ");
        return Err(DatabaseError::Failed(format!(
            "it lacks these tables, though it has had them: {missing}; restore a copy of it"
        )));
    }
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

/// Begins a transaction that writes.
pub async fn begin_write(db: &DatabaseConnection) -> Result<DatabaseTransaction> {
    // A deferred transaction of SQLite that turns to writing can fail; an immediate one waits.
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    Ok(db.begin_with_options(options).await?)
}
