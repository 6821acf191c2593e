//! Output that somebody reads for as long as he likes.

use std::io::{Error, ErrorKind};

/// Whether whoever reads the output has seen enough.
pub fn is_closed(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(|error: &Error| error.kind() == ErrorKind::BrokenPipe)
}
