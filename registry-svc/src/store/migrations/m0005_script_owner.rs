//! Adds the owner of a script, and scripts that are deleted while functions use their names. Scripts that exist
//! already have no owner: only administrators may delete them.

use sea_orm_migration::prelude::{
    ColumnDef, DbErr, DeriveIden, DeriveMigrationName, MigrationTrait, SchemaManager, Table, async_trait,
};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let owner = ColumnDef::new(Script::Owner).text().not_null().default("").take();
        let deleted = ColumnDef::new(Script::Deleted).boolean().not_null().default(false).take();
        // SQLite adds one column at a time.
        for column in [owner, deleted] {
            manager.alter_table(Table::alter().table(Script::Table).add_column(column).take()).await?;
        }
        Ok(())
    }
}

#[derive(DeriveIden)]
enum Script {
    Table,
    Owner,
    Deleted,
}
