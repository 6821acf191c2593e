//! The rows, one file a table. They stay inside the journal.

pub(super) mod cursor;
pub(super) mod dead_letter;
pub(super) mod in_flight;
pub(super) mod ledger;
