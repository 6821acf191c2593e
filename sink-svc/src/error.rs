//! The sink's errors as those of the mesh.

use std::time::Duration;

use mesh::database::DatabaseError;
use mesh::{Error, Reason};
use tonic::Status;

/// When a caller may retry while the outbox is full.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The maximum length of an invocation id, which becomes a header or a document id in stores.
pub(crate) const MAX_INVOCATION_ID: usize = 128;

/// Why a call to the sink was refused or failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SinkError {
    #[error("{0} can't be blank")]
    Blank(&'static str),
    #[error("expected at most {MAX_INVOCATION_ID} printable ASCII characters")]
    NoInvocationId,
    #[error("no dead letter {0}")]
    LetterNotFound(String),
    #[error("the outbox of the sinks is full")]
    Full,
    #[error("the result is larger than the whole outbox of the sinks")]
    NeverFits,
    #[error("the sink stops")]
    Stopping,
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// The result of a call.
pub(crate) type Result<T, E = SinkError> = std::result::Result<T, E>;

impl From<SinkError> for Error {
    fn from(error: SinkError) -> Self {
        let message = error.to_string();
        match error {
            SinkError::Blank(field) => Self::field(field, "can't be blank"),
            SinkError::NoInvocationId => Self::field("invocation_id", message),
            SinkError::LetterNotFound(_) => Self::new(Reason::DeadLetterNotFound, message),
            SinkError::Full => Self::overloaded(message, RETRY_AFTER),
            SinkError::NeverFits => Self::new(Reason::TooLarge, message),
            SinkError::Stopping => Self::unavailable(message),
            SinkError::Database(DatabaseError::Unavailable(cause)) => {
                tracing::warn!(%cause, "the database is not available");
                Self::unavailable("the sink's database is not available")
            }
            SinkError::Database(DatabaseError::Uncertain(cause)) => {
                tracing::warn!(%cause, "the database went away during a commit");
                let message = "the sink's database went away; the write may or may not have been committed";
                Self::new(Reason::ConnectionLost, message)
            }
            SinkError::Database(error @ DatabaseError::Failed(_)) => Self::internal(error),
        }
    }
}

impl From<SinkError> for Status {
    fn from(error: SinkError) -> Self {
        Error::from(error).into()
    }
}
