//! The registry's errors.

use std::time::Duration;

use mesh::database::DatabaseError;
use mesh::hash::Hash;
use mesh::{Error, Reason};
use tonic::Status;

/// Why a call to the registry was refused or failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistryError {
    #[error("{0}")]
    BadRequest(String),
    /// Invalid fields, each with a message.
    #[error("invalid fields")]
    InvalidFields(Vec<(&'static str, String)>),
    #[error("{what} is larger than the limit of {limit} bytes")]
    TooLarge { what: &'static str, limit: u64 },

    #[error("the token is unknown or has expired")]
    Unauthenticated,
    #[error("{0}")]
    PermissionDenied(&'static str),

    #[error("no module {0:?}")]
    ModuleNotFound(String),
    #[error("no function {name:?} in module {module:?}")]
    FunctionNotFound { module: String, name: String },
    #[error("no script {0:?}")]
    ScriptNotFound(String),
    #[error("no subject {0:?}")]
    SubjectNotFound(String),
    #[error("no function uses code with the hash {0}")]
    CodeNotFound(Hash),

    #[error("module {module:?} has a function {name:?} already")]
    FunctionExists { module: String, name: String },
    /// The script cannot be deleted because functions use it.
    #[error("script {name:?} is used by {users}; set `force` to delete it anyway")]
    ScriptInUse { name: String, users: String },
    /// The default module cannot be renamed or deleted.
    #[error("Cannot {0} default module")]
    DefaultModule(&'static str),

    #[error("the memory for uploads is exhausted")]
    UploadsFull,
    #[error("nothing of the upload came for {0:?}")]
    UploadStalled(Duration),
    /// Another call failed; its error is passed on.
    #[error(transparent)]
    Other(#[from] Error),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// The result of a call.
pub(crate) type Result<T, E = RegistryError> = std::result::Result<T, E>;

impl RegistryError {
    /// One invalid field.
    pub(crate) fn field(field: &'static str, message: impl Into<String>) -> Self {
        Self::InvalidFields(vec![(field, message.into())])
    }

    /// The name in the field `name` is already in use.
    pub(crate) fn name_taken() -> Self {
        Self::field("name", "has already been taken")
    }
}

impl From<RegistryError> for Error {
    fn from(error: RegistryError) -> Self {
        let message = error.to_string();
        let reason = match error {
            RegistryError::InvalidFields(fields) => {
                return Self::fields(fields.into_iter().map(|(field, message)| (field.to_owned(), message)));
            }
            RegistryError::Other(error) => return error,
            RegistryError::Database(DatabaseError::Unavailable(cause)) => {
                tracing::warn!(%cause, "the database is not available");
                return Self::unavailable("the registry's database is not available");
            }
            RegistryError::Database(DatabaseError::Uncertain(cause)) => {
                tracing::warn!(%cause, "the database went away during a commit");
                let message =
                    "the registry's database went away; the write may or may not have been committed";
                return Self::new(Reason::ConnectionLost, message);
            }
            RegistryError::Database(error @ DatabaseError::Failed(_)) => return Self::internal(error),
            RegistryError::UploadsFull => return Self::overloaded(message, Duration::from_secs(1)),
            RegistryError::BadRequest(_) => Reason::BadRequest,
            RegistryError::TooLarge { .. } => Reason::TooLarge,
            RegistryError::Unauthenticated => Reason::Unauthenticated,
            RegistryError::PermissionDenied(_) => Reason::PermissionDenied,
            RegistryError::ModuleNotFound(_) => Reason::ModuleNotFound,
            RegistryError::FunctionNotFound { .. } => Reason::FunctionNotFound,
            RegistryError::ScriptNotFound(_) => Reason::ScriptNotFound,
            RegistryError::SubjectNotFound(_) => Reason::SubjectNotFound,
            RegistryError::CodeNotFound(_) => Reason::CodeNotFound,
            RegistryError::FunctionExists { .. } => Reason::FunctionExists,
            RegistryError::ScriptInUse { .. } => Reason::ScriptInUse,
            RegistryError::DefaultModule(_) => Reason::DefaultModule,
            RegistryError::UploadStalled(_) => Reason::DeadlineExceeded,
        };
        Self::new(reason, message)
    }
}

impl From<RegistryError> for Status {
    fn from(error: RegistryError) -> Self {
        Error::from(error).into()
    }
}
