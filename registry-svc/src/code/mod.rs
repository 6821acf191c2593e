//! Receives and validates the binaries of functions.

mod cost;
mod imports;
mod invalid;
mod limits;
mod outline;
mod stored;
mod upload;
mod validate;

pub(crate) use self::stored::stored_memory_bytes;
pub(crate) use self::upload::{Uploads, check_memory};
pub use self::validate::check_code;
