//! The interface between the host and FunLess functions: its name, and how a guest misuses it.

/// The module that FunLess functions import from.
pub(super) const MODULE: &str = "fl_imps";

/// How a guest misuses a host function. It traps with this error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HostCallError {
    #[error(
        "{call} was given {what} out of bounds: {len} bytes at address {ptr} of a memory of {size} bytes"
    )]
    OutOfBounds { call: &'static str, what: &'static str, ptr: u32, len: u32, size: usize },
    #[error("{call} was called by a function that exports no memory")]
    NoMemory { call: &'static str },
    #[error(
        "{call} was given the unknown method {method}; expected 0 GET, 1 POST, 2 PUT or 3 DELETE, and in \
         __http_send also 4 PATCH, 5 HEAD or 6 OPTIONS"
    )]
    UnknownMethod { call: &'static str, method: i32 },
    #[error("the output limit is exceeded")]
    OutputLimit,
}
