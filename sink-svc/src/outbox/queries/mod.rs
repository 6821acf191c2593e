//! The queries, by subject.

pub(super) mod dead_letters;
pub(super) mod ledgers;
pub(super) mod pending;
