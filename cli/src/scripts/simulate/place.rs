//! Where an invocation runs.

use std::fmt;

/// Where an invocation runs, or why nowhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// On the worker of this name.
    On(String),
    /// Nowhere, for this reason.
    Refused(String),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::On(worker) => formatter.write_str(worker),
            Self::Refused(refusal) => write!(formatter, "refused: {refusal}"),
        }
    }
}
