//! Adds an index by which PostgreSQL lists the functions of a module in the order of the bytes of their names. In SQLite,
//! that of the unique names has this order.

use sea_orm_migration::prelude::{DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, async_trait};
use sea_orm_migration::sea_orm::{ConnectionTrait as _, DbBackend};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() != DbBackend::Postgres {
            return Ok(());
        }
        let index = r#"CREATE INDEX function_by_name ON "function" (module, name COLLATE "C")"#;
        manager.get_connection().execute_unprepared(index).await.map(drop)
    }
}
