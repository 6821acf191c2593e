//! The schema, step by step. A step that has been released is never edited.

mod m0001_initial;
mod m0002_traces;
mod m0003_invalid_events;

use sea_orm_migration::sea_query::{Alias, IntoIden};
use sea_orm_migration::{MigrationTrait, MigratorTrait};

pub(super) struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_initial::Migration),
            Box::new(m0002_traces::Migration),
            Box::new(m0003_invalid_events::Migration),
        ]
    }

    /// Other services may keep their tables in the same database.
    fn migration_table_name() -> sea_orm_migration::sea_query::DynIden {
        Alias::new("connector_migrations").into_iden()
    }
}
