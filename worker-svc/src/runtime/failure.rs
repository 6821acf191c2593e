//! Why a run ended without returning.

use wasmtime::{PoolConcurrencyLimitError, Trap};

use super::backtrace;
use super::host::{Guest, HostCallError};
use super::limits::{Limits, MemoryRefusal};
use crate::budget::Exhausted;
use crate::error::Error;

/// Why a run ended without returning, while the functions in `frames` were running.
pub(super) fn of(
    error: &wasmtime::Error,
    frames: &[String],
    guest: &Guest,
    limits: Limits,
    stack_bytes: usize,
) -> Error {
    tracing::debug!(error = format!("{error:?}"), "a guest failed");
    let misuse = error.downcast_ref::<HostCallError>();
    if misuse == Some(&HostCallError::OutputLimit) {
        return Error::OutputLimit { limit: limits.output_bytes };
    }
    if let Some(Exhausted { budget }) = error.downcast_ref() {
        return Error::MemoryOfWorker { budget: *budget };
    }
    match guest.meter.refusal() {
        Some(MemoryRefusal::Limit) => return Error::MemoryLimit { limit: limits.memory_bytes },
        Some(MemoryRefusal::NothingLeft { budget }) => return Error::MemoryOfWorker { budget },
        Some(MemoryRefusal::NothingToStartWith { budget }) => return Error::NoMemoryToStart { budget },
        None => {}
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return Error::Internal(format!("the pool of instances is exhausted: {error:#}"));
    }
    let what = match (misuse, error.downcast_ref::<Trap>()) {
        (Some(misuse), _) => misuse.to_string(),
        (_, Some(Trap::StackOverflow)) => {
            return Error::StackLimit { limit: stack_bytes as u64 };
        }
        (_, Some(trap)) => in_words(trap),
        _ => error.root_cause().to_string(),
    };
    Error::Trapped(what + &backtrace::in_message(frames))
}

/// A trap as its user reads it.
fn in_words(trap: &Trap) -> String {
    let words = trap.to_string();
    words.strip_prefix("wasm trap: ").unwrap_or(&words).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traps_in_words() {
        assert_eq!(in_words(&Trap::IntegerDivisionByZero), "integer divide by zero");
    }
}
