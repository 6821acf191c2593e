//! Errors of the database: it is unavailable for a while, or it refuses a statement.

use sea_orm::sqlx::Error as SqlxError;
use sea_orm::{DbErr, RuntimeErr};

/// An error of the database.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DatabaseError {
    /// It cannot be reached or cannot work now. The same call may succeed later.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// The connection was lost during a commit. The write may or may not have been committed.
    #[error("the database went away during a commit: {0}")]
    Uncertain(String),
    /// A fault of the statement or of the stored data.
    #[error("the database failed: {0}")]
    Failed(String),
}

/// The result of a call to the database.
pub type Result<T, E = DatabaseError> = std::result::Result<T, E>;

impl DatabaseError {
    /// The error of a failed commit.
    pub fn of_commit(error: DbErr) -> Self {
        match error.into() {
            Self::Unavailable(cause) => Self::Uncertain(cause),
            other => other,
        }
    }
}

impl From<DbErr> for DatabaseError {
    fn from(error: DbErr) -> Self {
        let passing = match &error {
            DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => true,
            DbErr::Exec(RuntimeErr::SqlxError(cause)) | DbErr::Query(RuntimeErr::SqlxError(cause)) => {
                is_passing(cause)
            }
            _ => false,
        };
        if passing { Self::Unavailable(error.to_string()) } else { Self::Failed(error.to_string()) }
    }
}

fn is_passing(error: &SqlxError) -> bool {
    match error {
        SqlxError::Database(error) => error.code().is_some_and(|code| match code.parse::<u32>() {
            // SQLite's codes are short numbers, PostgreSQL's have five characters.
            Ok(code) if error.code().is_some_and(|text| text.len() < 5) => is_passing_sqlite(code),
            _ => is_passing_postgres(&code),
        }),
        SqlxError::Io(_)
        | SqlxError::Tls(_)
        | SqlxError::PoolTimedOut
        | SqlxError::PoolClosed
        | SqlxError::WorkerCrashed => true,
        _ => false,
    }
}

/// Whether another process has locked the SQLite database.
pub(super) fn is_busy(error: &SqlxError) -> bool {
    const BUSY: u32 = 5;
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
    code.is_some_and(|code| code & 0xff == BUSY)
}

/// By the primary code, which is the low byte: busy, locked, read-only, I/O error, full, cannot open.
fn is_passing_sqlite(code: u32) -> bool {
    matches!(code & 0xff, 5 | 6 | 8 | 10 | 13 | 14)
}

fn is_passing_postgres(code: &str) -> bool {
    // Connection exceptions, authorization, resources, operator intervention, system errors.
    const CLASSES: [&str; 5] = ["08", "28", "53", "57", "58"];
    // Read-only (a standby), idle in transaction, deadlock, serialization, lock timeout, and a
    // schema that the first replica is about to make.
    const CODES: [&str; 6] = ["25006", "25P03", "40P01", "40001", "55P03", "42P01"];
    CODES.contains(&code) || CLASSES.iter().any(|class| code.starts_with(class))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_classified_by_code() {
        for code in ["08006", "57P01", "53300", "55P03", "42P01"] {
            assert!(is_passing_postgres(code), "{code}");
        }
        for code in ["23505", "42601", "22021"] {
            assert!(!is_passing_postgres(code), "{code}");
        }
        for (code, passes) in [(5, true), (517, true), (13, true), (2067, false), (1, false), (11, false)] {
            assert_eq!(is_passing_sqlite(code), passes, "{code}");
        }
    }
}
