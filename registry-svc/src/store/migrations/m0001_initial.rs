//! The initial schema.

use sea_orm_migration::prelude::{
    ColumnDef, DbErr, DeriveIden, DeriveMigrationName, ForeignKey, ForeignKeyAction, Index, MigrationTrait,
    Query, SchemaManager, Table, async_trait,
};
use sea_orm_migration::sea_query::TableCreateStatement;

use crate::names::DEFAULT_MODULE;

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tables = [
            revision(),
            change_log(),
            module(),
            code(),
            code_chunk(),
            function(),
            binding(),
            script(),
            subject(),
        ];
        for table in tables {
            manager.create_table(table).await?;
        }
        let by_code =
            Index::create().name("function_by_code").table(Function::Table).col(Function::CodeHash).take();
        manager.create_index(by_code).await?;
        let by_function =
            Index::create().name("binding_by_function").table(Binding::Table).col(Binding::FunctionId).take();
        manager.create_index(by_function).await?;

        let mut first_revision = Query::insert();
        first_revision.into_table(Revision::Table).columns([Revision::Id, Revision::Value]);
        manager.execute(first_revision.values_panic([1.into(), 0.into()]).take()).await?;
        let mut default_module = Query::insert();
        default_module.into_table(Module::Table).columns([Module::Name, Module::Owner]);
        manager.execute(default_module.values_panic([DEFAULT_MODULE.into(), "".into()]).take()).await
    }
}

/// A table with one row. The row's lock serializes writers.
fn revision() -> TableCreateStatement {
    Table::create()
        .table(Revision::Table)
        .col(ColumnDef::new(Revision::Id).integer().not_null().primary_key())
        .col(ColumnDef::new(Revision::Value).big_integer().not_null())
        .take()
}

fn change_log() -> TableCreateStatement {
    Table::create()
        .table(ChangeLog::Table)
        .col(ColumnDef::new(ChangeLog::Revision).big_integer().not_null().primary_key())
        .col(ColumnDef::new(ChangeLog::Body).blob())
        .take()
}

fn module() -> TableCreateStatement {
    Table::create()
        .table(Module::Table)
        .col(ColumnDef::new(Module::Name).text().not_null().primary_key())
        .col(ColumnDef::new(Module::Owner).text().not_null())
        .take()
}

fn code() -> TableCreateStatement {
    Table::create()
        .table(Code::Table)
        .col(ColumnDef::new(Code::Hash).blob().not_null().primary_key())
        .col(ColumnDef::new(Code::Size).big_integer().not_null())
        .col(ColumnDef::new(Code::Kind).integer().not_null())
        .take()
}

fn code_chunk() -> TableCreateStatement {
    Table::create()
        .table(CodeChunk::Table)
        .col(ColumnDef::new(CodeChunk::Hash).blob().not_null())
        .col(ColumnDef::new(CodeChunk::Position).integer().not_null())
        .col(ColumnDef::new(CodeChunk::Bytes).blob().not_null())
        .primary_key(Index::create().col(CodeChunk::Hash).col(CodeChunk::Position))
        .foreign_key(
            ForeignKey::create()
                .from(CodeChunk::Table, CodeChunk::Hash)
                .to(Code::Table, Code::Hash)
                .on_delete(ForeignKeyAction::Cascade),
        )
        .take()
}

fn function() -> TableCreateStatement {
    Table::create()
        .table(Function::Table)
        .col(ColumnDef::new(Function::Id).text().not_null().primary_key())
        .col(ColumnDef::new(Function::Module).text().not_null())
        .col(ColumnDef::new(Function::Name).text().not_null())
        .col(ColumnDef::new(Function::CodeHash).blob().not_null())
        .col(ColumnDef::new(Function::Tag).text().not_null())
        .col(ColumnDef::new(Function::CapacityKb).big_integer().not_null())
        .col(ColumnDef::new(Function::Idempotent).boolean().not_null())
        .col(ColumnDef::new(Function::MemoryBytes).big_integer().not_null())
        .col(ColumnDef::new(Function::TimeoutMs).big_integer().not_null())
        .col(ColumnDef::new(Function::OutputBytes).big_integer().not_null())
        .col(ColumnDef::new(Function::Revision).big_integer().not_null())
        .col(ColumnDef::new(Function::CreatedAtMs).big_integer().not_null())
        .col(ColumnDef::new(Function::UpdatedAtMs).big_integer().not_null())
        .index(Index::create().name("function_name").col(Function::Module).col(Function::Name).unique())
        .foreign_key(
            ForeignKey::create()
                .from(Function::Table, Function::Module)
                .to(Module::Table, Module::Name)
                .on_update(ForeignKeyAction::Cascade)
                .on_delete(ForeignKeyAction::Cascade),
        )
        .foreign_key(
            ForeignKey::create().from(Function::Table, Function::CodeHash).to(Code::Table, Code::Hash),
        )
        .take()
}

fn binding() -> TableCreateStatement {
    Table::create()
        .table(Binding::Table)
        .col(ColumnDef::new(Binding::Id).text().not_null().primary_key())
        .col(ColumnDef::new(Binding::FunctionId).text().not_null())
        .col(ColumnDef::new(Binding::Role).integer().not_null())
        .col(ColumnDef::new(Binding::Position).integer().not_null())
        .col(ColumnDef::new(Binding::Type).text().not_null())
        .col(ColumnDef::new(Binding::Params).text().not_null())
        .foreign_key(
            ForeignKey::create()
                .from(Binding::Table, Binding::FunctionId)
                .to(Function::Table, Function::Id)
                .on_delete(ForeignKeyAction::Cascade),
        )
        .take()
}

fn script() -> TableCreateStatement {
    Table::create()
        .table(Script::Table)
        .col(ColumnDef::new(Script::Name).text().not_null().primary_key())
        .col(ColumnDef::new(Script::Content).text().not_null())
        .take()
}

fn subject() -> TableCreateStatement {
    Table::create()
        .table(Subject::Table)
        .col(ColumnDef::new(Subject::Name).text().not_null().primary_key())
        .col(ColumnDef::new(Subject::Role).integer().not_null())
        .col(ColumnDef::new(Subject::TokenHash).blob().not_null().unique_key())
        .col(ColumnDef::new(Subject::ExpiresAtMs).big_integer().not_null())
        .take()
}

#[derive(DeriveIden)]
enum Revision {
    Table,
    Id,
    Value,
}

#[derive(DeriveIden)]
enum ChangeLog {
    Table,
    Revision,
    Body,
}

#[derive(DeriveIden)]
enum Module {
    Table,
    Name,
    Owner,
}

#[derive(DeriveIden)]
enum Code {
    Table,
    Hash,
    Size,
    Kind,
}

#[derive(DeriveIden)]
enum CodeChunk {
    Table,
    Hash,
    Position,
    Bytes,
}

#[derive(DeriveIden)]
enum Function {
    Table,
    Id,
    Module,
    Name,
    CodeHash,
    Tag,
    CapacityKb,
    Idempotent,
    MemoryBytes,
    TimeoutMs,
    OutputBytes,
    Revision,
    CreatedAtMs,
    UpdatedAtMs,
}

#[derive(DeriveIden)]
enum Binding {
    Table,
    Id,
    FunctionId,
    Role,
    Position,
    Type,
    Params,
}

#[derive(DeriveIden)]
enum Script {
    Table,
    Name,
    Content,
}

#[derive(DeriveIden)]
enum Subject {
    Table,
    Name,
    Role,
    TokenHash,
    ExpiresAtMs,
}
