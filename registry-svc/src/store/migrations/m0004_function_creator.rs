//! Adds the creator of a function.

use sea_orm_migration::prelude::{
    ColumnDef, DbErr, DeriveIden, DeriveMigrationName, MigrationTrait, SchemaManager, Table, async_trait,
};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let creator = ColumnDef::new(Function::Creator).text().not_null().default("").take();
        manager.alter_table(Table::alter().table(Function::Table).add_column(creator).take()).await
    }
}

#[derive(DeriveIden)]
enum Function {
    Table,
    Creator,
}
