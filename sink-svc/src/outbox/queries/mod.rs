//! What reads, by noun.

pub(super) mod dead_letters;
pub(super) mod ledgers;
pub(super) mod pending;
