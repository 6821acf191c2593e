//! What can be read, by noun.

pub(super) mod dead_letters;
pub(super) mod events;
pub(super) mod ledgers;
