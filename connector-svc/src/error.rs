//! The connector's errors as those of the mesh.

use mesh::database::DatabaseError;
use mesh::group_commit::Closed;
use mesh::{Error, Reason};

/// What callers and statuses say while the database is away.
pub(crate) const DATABASE_UNAVAILABLE: &str = "the connector's database is not available";

/// An error of the journal.
pub(crate) fn journal_error(error: DatabaseError) -> Error {
    match error {
        DatabaseError::Unavailable(cause) => {
            tracing::warn!(%cause, "the database is not available");
            Error::unavailable(DATABASE_UNAVAILABLE)
        }
        DatabaseError::Uncertain(cause) => {
            tracing::warn!(%cause, "the database went away during a commit");
            let message = "the connector's database went away; the write may or may not have been committed";
            Error::new(Reason::ConnectionLost, message)
        }
        error @ DatabaseError::Failed(_) => Error::internal(error),
    }
}

/// The journal accepts no more writes.
pub(crate) fn closed(_: Closed) -> Error {
    Error::unavailable("the connector is stopping")
}
