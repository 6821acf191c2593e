//! The entities, one file per table. They stay inside the outbox.

pub(super) mod binding;
pub(super) mod dead_letter;
pub(super) mod ledger;
pub(super) mod outbox;
