//! The database entities, one file per table. They are private to the store.

pub(super) mod binding;
pub(super) mod binding_holder;
pub(super) mod binding_lease;
pub(super) mod change_log;
pub(super) mod code;
pub(super) mod code_chunk;
pub(super) mod function;
pub(super) mod module;
pub(super) mod revision;
pub(super) mod script;
pub(super) mod subject;

use sea_orm::EntityName as _;

/// The names of all tables.
pub(super) fn tables() -> [&'static str; 11] {
    [
        binding::Entity.table_name(),
        binding_holder::Entity.table_name(),
        binding_lease::Entity.table_name(),
        change_log::Entity.table_name(),
        code::Entity.table_name(),
        code_chunk::Entity.table_name(),
        function::Entity.table_name(),
        module::Entity.table_name(),
        revision::Entity.table_name(),
        script::Entity.table_name(),
        subject::Entity.table_name(),
    ]
}
