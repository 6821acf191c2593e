//! How scheduling fails.

use std::time::Duration;

use mesh::{Error, Reason};

use crate::policy::Refusal;

/// When the caller may retry if its module uses its share.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Why an invocation could not be scheduled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchedulingError {
    /// The function does not exist, or the caller may not invoke it.
    #[error("no function {function:?} in module {module:?}")]
    FunctionNotFound {
        /// The module asked for.
        module: String,
        /// The function asked for.
        function: String,
    },
    /// The script does not exist.
    #[error("no script {0:?}")]
    ScriptNotFound(String),
    /// The stored text is not a valid script: it was stored before scripts were checked.
    #[error("the script {name} cannot be used: {problem}")]
    ScriptUnusable {
        /// The script's name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// No function has this id.
    #[error("no function with the id {0}")]
    FunctionIdNotFound(String),
    /// The registry has not given out this revision.
    #[error("revision {wanted} has not been given out: the newest is {newest}")]
    UnknownRevision {
        /// The revision in the request.
        wanted: u64,
        /// The newest revision.
        newest: u64,
    },
    /// The catalog did not reach a revision in time.
    #[error("{}", behind_words(*wanted, *have, *waited, *registry_is_away))]
    CatalogBehind {
        /// The revision in the request.
        wanted: u64,
        /// The revision of the catalog; `None` before the first snapshot.
        have: Option<u64>,
        /// How long it was waited for.
        waited: Duration,
        /// The registry did not answer in this time.
        registry_is_away: bool,
    },
    /// The policy gives no worker.
    #[error("{}", refusal_words(*.0))]
    Refused(Refusal),
    /// The module has as many running invocations as its share of this scheduler allows.
    #[error(
        "the module {0} uses its share of the scheduler: max_percent_per_module keeps the rest for other modules"
    )]
    ModuleShare(String),
    /// No decision with this id is remembered here.
    #[error("no decision {0}; a scheduler remembers its latest ones only")]
    DecisionNotFound(String),
    /// None of the workers could be reached.
    #[error("no worker could be reached")]
    NoneReachable,
    /// The worker was lost after it got the call. The function is not idempotent, or no other worker could be tried.
    #[error("the worker {worker} was lost while it may have been running the function")]
    WorkerLost {
        /// The worker's name.
        worker: String,
    },
    /// The function ran, but its sinks did not take the result.
    #[error("the function ran, but its sinks did not take the result: {0}")]
    ResultNotTaken(Error),
}

impl From<SchedulingError> for Error {
    fn from(error: SchedulingError) -> Self {
        let reason = match &error {
            SchedulingError::ModuleShare(_) => return Self::overloaded(error.to_string(), RETRY_AFTER),
            SchedulingError::FunctionNotFound { .. } | SchedulingError::FunctionIdNotFound(_) => {
                Reason::FunctionNotFound
            }
            SchedulingError::ScriptNotFound(_) => Reason::ScriptNotFound,
            SchedulingError::ScriptUnusable { .. } => Reason::ScriptUnusable,
            SchedulingError::UnknownRevision { .. } => Reason::BadRequest,
            SchedulingError::CatalogBehind { .. } => Reason::RevisionNotReached,
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

fn behind_words(wanted: u64, have: Option<u64>, waited: Duration, registry_is_away: bool) -> String {
    // In tenths, without a trailing zero.
    let seconds = (waited.as_secs_f64() * 10.0).round() / 10.0;
    let away = if registry_is_away { " the registry cannot be reached, and" } else { "" };
    let at = have.map_or("has no revision yet".to_owned(), |have| format!("is at revision {have}"));
    format!("waited {seconds} s for revision {wanted};{away} this scheduler {at}")
}

/// Clients of FunLess expect these messages.
fn refusal_words(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NoWorkers => "No worker available",
        Refusal::NoMatchingTag | Refusal::NoValidWorkers => refusal.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_catalog_that_is_behind_says_what_was_waited_for() {
        let behind = |have, ms, registry_is_away| {
            let waited = Duration::from_millis(ms);
            SchedulingError::CatalogBehind { wanted: 17, have, waited, registry_is_away }.to_string()
        };
        assert_eq!(
            behind(Some(12), 5012, false),
            "waited 5 s for revision 17; this scheduler is at revision 12"
        );
        assert_eq!(
            behind(Some(12), 312, true),
            "waited 0.3 s for revision 17; the registry cannot be reached, and this scheduler is at revision 12"
        );
        assert_eq!(
            behind(None, 5000, true),
            "waited 5 s for revision 17; the registry cannot be reached, and this scheduler has no revision yet"
        );
    }
}
