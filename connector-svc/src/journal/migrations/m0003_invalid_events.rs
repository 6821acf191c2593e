//! Invalid events become dead letters.

use sea_orm_migration::prelude::{
    ColumnDef, DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, Table, async_trait,
};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut invalid = ColumnDef::new("invalid");
        let invalid = invalid.boolean().not_null().default(false);
        let added = Table::alter().table("connector_dead_letter").add_column(invalid).take();
        manager.alter_table(added).await
    }
}
