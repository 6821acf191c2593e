//! Adds the token that a subject had before its last rotation, which may remain valid for a while.

use sea_orm_migration::prelude::{
    ColumnDef, DbErr, DeriveIden, DeriveMigrationName, Index, MigrationTrait, SchemaManager, Table,
    async_trait,
};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let hash = ColumnDef::new(Subject::FormerTokenHash).blob().take();
        let expires = ColumnDef::new(Subject::FormerExpiresAtMs).big_integer().not_null().default(0).take();
        // SQLite adds one column at a time.
        for column in [hash, expires] {
            manager.alter_table(Table::alter().table(Subject::Table).add_column(column).take()).await?;
        }
        let by_former_token = Index::create()
            .name("subject_by_former_token")
            .table(Subject::Table)
            .col(Subject::FormerTokenHash)
            .take();
        manager.create_index(by_former_token).await
    }
}

#[derive(DeriveIden)]
enum Subject {
    Table,
    FormerTokenHash,
    FormerExpiresAtMs,
}
