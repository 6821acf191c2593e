//! How scheduling fails.

use mesh::{Error, Reason};

use crate::policy::Refusal;

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
    /// What is stored under this name is no script. Only a mesh that did not read scripts yet took it.
    #[error("the script {name} cannot be used: {problem}")]
    ScriptUnusable {
        /// The script's name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
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
    /// The policy gives no worker.
    #[error("{}", refusal_words(*.0))]
    Refused(Refusal),
    /// No decision with this id is remembered here.
    #[error("there is no decision {0}; the latest ones are remembered, by the scheduler that made them")]
    DecisionNotFound(String),
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
            SchedulingError::ScriptUnusable { .. } => Reason::ScriptUnusable,
            SchedulingError::CatalogBehind { .. } => Reason::Unavailable,
            SchedulingError::Refused(Refusal::NoWorkers) | SchedulingError::NoneReachable => Reason::NoWorker,
            SchedulingError::Refused(Refusal::NoMatchingTag) => Reason::NoMatchingTag,
            SchedulingError::Refused(Refusal::NoValidWorkers) => Reason::NoValidWorkers,
            SchedulingError::DecisionNotFound(_) => Reason::DecisionNotFound,
            SchedulingError::WorkerLost { .. } => Reason::WorkerLost,
            SchedulingError::ResultNotTaken(_) => Reason::ResultNotTaken,
        };
        Self::new(reason, error.to_string())
    }
}

/// Clients of FunLess know these words.
fn refusal_words(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NoWorkers => "No worker available",
        Refusal::NoMatchingTag | Refusal::NoValidWorkers => refusal.as_str(),
    }
}
