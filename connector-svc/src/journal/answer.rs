//! What the database answers, and how long that may take.

use std::time::Duration;

use mesh::database::DatabaseError;
use sea_orm::DbErr;

/// How long a call waits for a database that has fallen silent.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a poll waits for it.
pub(super) const POLL_TIMEOUT: Duration = Duration::from_secs(5);

/// What a call to the journal gives.
pub(crate) type Result<T, E = DatabaseError> = std::result::Result<T, E>;

/// What the database says within `limit`.
pub(super) async fn within<T>(limit: Duration, answer: impl Future<Output = Result<T, DbErr>>) -> Result<T> {
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(DatabaseError::Unavailable("it does not answer".into())),
    }
}

/// What the database says, unless it has fallen silent.
pub(super) async fn answered<T>(answer: impl Future<Output = Result<T, DbErr>>) -> Result<T> {
    within(ANSWER_TIMEOUT, answer).await
}
