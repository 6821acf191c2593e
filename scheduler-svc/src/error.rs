//! How scheduling fails.

use mesh::{Error, Reason};

/// Why an invocation could not be scheduled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchedulingError {
    /// No such function, or none that the caller reaches.
    #[error("there is no function {module}/{function}")]
    FunctionNotFound {
        /// The module asked for.
        module: String,
        /// The function asked for.
        function: String,
    },
    /// No script of this name.
    #[error("there is no script {0}")]
    ScriptNotFound(String),
    /// The script exists, but this scheduler evaluates none.
    #[error(
        "scheduling by APP scripts is not available yet; leave out \"scheduling\" or use {{\"language\":\"none\"}}"
    )]
    ScriptsNotAvailable,
    /// No function has this id.
    #[error("there is no function with the id {0}")]
    FunctionIdNotFound(String),
    /// The catalog did not become as new as the caller asked for.
    #[error("the catalog is at revision {}, behind {wanted}; the registry cannot be followed", have.unwrap_or(0))]
    CatalogBehind {
        /// The revision that the caller has seen.
        wanted: u64,
        /// The revision of the catalog, if it has one.
        have: Option<u64>,
    },
    /// No worker has joined.
    #[error("No worker available")]
    NoWorkers,
    /// Workers are there, but none has the memory.
    #[error("no worker has {capacity_kb} KB of memory free")]
    NotEnoughMemory {
        /// The function's capacity.
        capacity_kb: u64,
    },
    /// Every worker was tried and none could be reached.
    #[error("no worker could be reached")]
    NoneReachable,
    /// The worker was lost while it ran the function, which may not be repeated.
    #[error("the worker {worker} was lost while it ran the function")]
    WorkerLost {
        /// The worker's name.
        worker: String,
    },
    /// The function ran, and its result is lost.
    #[error("the function ran, but its sinks did not take the result: {0}")]
    ResultNotTaken(Error),
}

impl From<SchedulingError> for Error {
    fn from(error: SchedulingError) -> Self {
        let reason = match &error {
            SchedulingError::FunctionNotFound { .. } | SchedulingError::FunctionIdNotFound(_) => {
                Reason::FunctionNotFound
            }
            SchedulingError::ScriptNotFound(_) => Reason::ScriptNotFound,
            SchedulingError::ScriptsNotAvailable => Reason::BadRequest,
            SchedulingError::CatalogBehind { .. } => Reason::Unavailable,
            SchedulingError::NoWorkers
            | SchedulingError::NotEnoughMemory { .. }
            | SchedulingError::NoneReachable => Reason::NoWorker,
            SchedulingError::WorkerLost { .. } => Reason::WorkerLost,
            SchedulingError::ResultNotTaken(_) => Reason::ResultNotTaken,
        };
        Self::new(reason, error.to_string())
    }
}
