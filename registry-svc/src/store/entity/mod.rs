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
