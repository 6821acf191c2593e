//! The entities, one file per table. They stay inside the outbox.

pub(super) mod binding;
pub(super) mod dead_letter;
pub(super) mod ledger;
pub(super) mod outbox;

use sea_orm::EntityName as _;

/// The names of all tables.
pub(super) fn tables() -> [&'static str; 4] {
    [
        binding::Entity.table_name(),
        dead_letter::Entity.table_name(),
        ledger::Entity.table_name(),
        outbox::Entity.table_name(),
    ]
}
