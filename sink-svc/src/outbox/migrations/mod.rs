//! The migrations of the schema. A released migration is never edited.

mod m0001_initial;
mod m0002_traces;

use sea_orm_migration::sea_query::{DynIden, IntoIden as _};
use sea_orm_migration::{MigrationTrait, MigratorTrait};

pub(super) struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(m0001_initial::Migration), Box::new(m0002_traces::Migration)]
    }

    /// Other services may keep their tables in the same database.
    fn migration_table_name() -> DynIden {
        "sink_migrations".into_iden()
    }
}
