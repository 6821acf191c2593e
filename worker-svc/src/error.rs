//! Why an invocation fails, and the reason that its caller gets.

use mesh::Reason;
use std::time::Duration;

/// When the caller of an overloaded worker may retry.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Why an invocation has no outcome. Messages are for users and hold nothing internal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("the function trapped: {0}")]
    Trapped(String),
    #[error("the function returned {0}, where 0 means success and 1 an error of its own")]
    BadReturnValue(i32),
    #[error("{0}")]
    BadResponse(String),
    #[error("the function needs more memory than its limit of {limit} bytes")]
    MemoryLimit { limit: u64 },
    #[error(
        "the function needs more memory than is left of the {budget} bytes for all functions of the worker"
    )]
    MemoryOfWorker { budget: u64 },
    #[error("nothing is left of the {budget} bytes of memory for all functions of the worker")]
    NoMemoryToStart { budget: u64 },
    #[error("the function's output is larger than its limit of {limit} bytes")]
    OutputLimit { limit: u64 },
    #[error("the function's calls nest deeper than its stack limit of {limit} bytes allows")]
    StackLimit { limit: u64 },
    #[error("the function ran longer than its time limit of {limit_ms} ms")]
    TimeLimit { limit_ms: u64 },
    #[error("the caller's deadline has passed: it left {left_ms} ms when the function started")]
    CallersDeadline { left_ms: u64 },
    #[error("the function's code cannot be used: {0}")]
    CodeUnusable(String),
    #[error("the function's code is not in the registry")]
    CodeNotFound,
    #[error("the function's code cannot be fetched: {0}")]
    CodeUnavailable(String),
    #[error("the worker runs as many invocations as its limit allows")]
    Overloaded,
    #[error(
        "the module {0} uses its share of the worker: max_percent_per_module keeps the rest for other modules"
    )]
    ModuleShare(String),
    #[error("the function runs as often at once as max_concurrent_per_function allows: {limit}")]
    FunctionConcurrency { limit: usize },
    #[error("the worker is draining")]
    Draining,
    #[error("{0}")]
    BadRequest(&'static str),
    #[error("internal error")]
    Internal(String),
}

impl Error {
    fn reason(&self) -> Reason {
        match self {
            Self::Trapped(_) => Reason::GuestTrapped,
            Self::BadReturnValue(_) => Reason::GuestExited,
            Self::BadResponse(_) => Reason::GuestBadResponse,
            Self::MemoryLimit { .. } | Self::MemoryOfWorker { .. } => Reason::GuestMemoryLimit,
            Self::OutputLimit { .. } => Reason::GuestOutputLimit,
            Self::StackLimit { .. } => Reason::GuestStackLimit,
            Self::TimeLimit { .. } | Self::CallersDeadline { .. } => Reason::DeadlineExceeded,
            Self::CodeUnusable(_) => Reason::CodeUnusable,
            Self::CodeNotFound => Reason::CodeNotFound,
            Self::CodeUnavailable(_) | Self::Draining => Reason::Unavailable,
            Self::Overloaded
            | Self::NoMemoryToStart { .. }
            | Self::ModuleShare(_)
            | Self::FunctionConcurrency { .. } => Reason::Overloaded,
            Self::BadRequest(_) => Reason::BadRequest,
            Self::Internal(_) => Reason::Internal,
        }
    }

    /// Its name in metrics: one of a closed set.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Trapped(_) => "trapped",
            Self::BadReturnValue(_) => "bad_return_value",
            Self::BadResponse(_) => "bad_response",
            Self::MemoryLimit { .. } | Self::MemoryOfWorker { .. } => "memory_limit",
            Self::OutputLimit { .. } => "output_limit",
            Self::StackLimit { .. } => "stack_limit",
            Self::TimeLimit { .. } | Self::CallersDeadline { .. } => "deadline_exceeded",
            Self::CodeUnusable(_) => "code_unusable",
            Self::CodeNotFound | Self::CodeUnavailable(_) => "code_unavailable",
            Self::Overloaded
            | Self::NoMemoryToStart { .. }
            | Self::ModuleShare(_)
            | Self::FunctionConcurrency { .. } => "overloaded",
            Self::Draining => "draining",
            Self::BadRequest(_) => "bad_request",
            Self::Internal(_) => "internal",
        }
    }
}

impl From<Error> for mesh::Error {
    fn from(error: Error) -> Self {
        match &error {
            Error::Overloaded
            | Error::NoMemoryToStart { .. }
            | Error::ModuleShare(_)
            | Error::FunctionConcurrency { .. } => Self::overloaded(error.to_string(), RETRY_AFTER),
            Error::Internal(context) => Self::internal(context),
            _ => Self::new(error.reason(), error.to_string()),
        }
    }
}
