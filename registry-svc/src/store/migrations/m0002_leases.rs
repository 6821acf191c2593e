//! Adds the holders and leases of bindings.

use sea_orm_migration::prelude::{
    ColumnDef, DbErr, DeriveIden, DeriveMigrationName, ForeignKey, ForeignKeyAction, Index, MigrationTrait,
    Query, SchemaManager, Table, async_trait,
};
use sea_orm_migration::sea_query::TableCreateStatement;

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(binding_holder()).await?;
        manager.create_table(binding_lease()).await?;
        let by_holder = Index::create()
            .name("binding_lease_by_holder")
            .table(BindingLease::Table)
            .col(BindingLease::Holder)
            .take();
        manager.create_index(by_holder).await?;
        // More parameter names are redacted now than when these changes were logged.
        manager.execute(Query::delete().from_table(ChangeLog::Table).take()).await
    }
}

/// The expiry is stored per holder, not per lease, so that a renewal writes one row.
fn binding_holder() -> TableCreateStatement {
    Table::create()
        .table(BindingHolder::Table)
        .col(ColumnDef::new(BindingHolder::Holder).text().not_null().primary_key())
        .col(ColumnDef::new(BindingHolder::Role).integer().not_null())
        .col(ColumnDef::new(BindingHolder::Address).text().not_null())
        .col(ColumnDef::new(BindingHolder::Stopping).boolean().not_null())
        .col(ColumnDef::new(BindingHolder::ExpiresAtMs).big_integer().not_null())
        .take()
}

/// There is no foreign key to the binding: its lock would cause deadlocks between writers of functions and
/// holders that renew leases. The lease of a deleted binding is deleted at the next call of its holder, or
/// with the holder.
fn binding_lease() -> TableCreateStatement {
    Table::create()
        .table(BindingLease::Table)
        .col(ColumnDef::new(BindingLease::BindingId).text().not_null().primary_key())
        .col(ColumnDef::new(BindingLease::Holder).text().not_null())
        .foreign_key(
            ForeignKey::create()
                .from(BindingLease::Table, BindingLease::Holder)
                .to(BindingHolder::Table, BindingHolder::Holder)
                .on_delete(ForeignKeyAction::Cascade),
        )
        .take()
}

#[derive(DeriveIden)]
enum BindingHolder {
    Table,
    Holder,
    Role,
    Address,
    Stopping,
    ExpiresAtMs,
}

#[derive(DeriveIden)]
enum BindingLease {
    Table,
    BindingId,
    Holder,
}

#[derive(DeriveIden)]
enum ChangeLog {
    Table,
}
