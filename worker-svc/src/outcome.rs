//! How an invocation ends.

use bytes::Bytes;

use crate::error::Error;

/// What a function says at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Its result, one JSON value, as it wrote it.
    Result(Bytes),
    /// Its own error message.
    FunctionError(String),
}

impl Outcome {
    /// The length of what it says.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Result(result) => result.len() as u64,
            Self::FunctionError(message) => message.len() as u64,
        }
    }
}

/// The name of the end of an invocation in metrics and traces: one of a closed set.
pub(crate) fn label(end: &Result<Outcome, Error>) -> &'static str {
    match end {
        Ok(Outcome::Result(_)) => "result",
        Ok(Outcome::FunctionError(_)) => "function_error",
        Err(error) => error.label(),
    }
}
