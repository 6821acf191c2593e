//! What the connector remembers: events in flight, counts of all events, and dead letters. In PostgreSQL,
//! which replicas share, or in SQLite as the embedded default. Only this module knows SQL, and its entities
//! stay inside.
//!
//! A row of the table in flight is an event of a source that redelivers what is not acknowledged. It is
//! written before the function runs and *ended* before the source is told, so that a redelivery is recognised
//! whenever one of the two crashes in between; it is *cleared* once the source is known to have been told. The
//! counts of the ledger change in the transaction of the rows that they count. Events in flight and dead
//! letters are counted in the rows themselves, so that a loss shows.

mod answer;
mod change;
mod commit;
mod entity;
mod migrations;
mod queries;
mod store;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use self::answer::Result;
pub(crate) use self::change::{Change, DeadLetterRecord, Entry, Write};
pub(crate) use self::queries::dead_letters::DeadLetterPage;
pub(crate) use self::store::Journal;
