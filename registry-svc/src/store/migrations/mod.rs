//! The schema's migrations. A released migration is never edited.

mod m0001_initial;
mod m0002_leases;
mod m0003_function_script;
mod m0004_function_creator;
mod m0005_script_owner;
mod m0006_function_order;

use sea_orm_migration::{MigrationTrait, MigratorTrait};

pub(super) struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_initial::Migration),
            Box::new(m0002_leases::Migration),
            Box::new(m0003_function_script::Migration),
            Box::new(m0004_function_creator::Migration),
            Box::new(m0005_script_owner::Migration),
            Box::new(m0006_function_order::Migration),
        ]
    }
}
