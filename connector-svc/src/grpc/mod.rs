//! The connector's gRPC services: decode, call, encode.

mod dead_letters;
mod events;

use mesh::database::DatabaseError;
use mesh::group_commit::Closed;
use mesh::{Error, Reason};

pub(crate) use self::dead_letters::DeadLettersHandler;
pub(crate) use self::events::EventsHandler;

/// What people hear of a database that is away.
pub(crate) const DATABASE_AWAY: &str = "the connector's database is not available";

/// How the journal's failures are told.
fn journal_error(error: DatabaseError) -> Error {
    match error {
        DatabaseError::Unavailable(cause) => {
            tracing::warn!(%cause, "the database is not available");
            Error::unavailable(DATABASE_AWAY)
        }
        DatabaseError::Uncertain(cause) => {
            tracing::warn!(%cause, "the database went away during a commit");
            let message = "the connector's database went away; whether the write is kept is not known";
            Error::new(Reason::ConnectionLost, message)
        }
        error @ DatabaseError::Failed(_) => Error::internal(error),
    }
}

fn closed(_: Closed) -> Error {
    Error::unavailable("the connector stops")
}
