//! The rows, one file a table. They stay inside the journal.

pub(super) mod cursor;
pub(super) mod dead_letter;
pub(super) mod in_flight;
pub(super) mod ledger;

use sea_orm::EntityName as _;

/// The names of all tables.
pub(super) fn tables() -> [&'static str; 4] {
    [
        cursor::Entity.table_name(),
        dead_letter::Entity.table_name(),
        in_flight::Entity.table_name(),
        ledger::Entity.table_name(),
    ]
}
