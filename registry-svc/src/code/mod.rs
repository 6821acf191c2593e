//! Receives and validates the binaries of functions.

mod cost;
mod imports;
mod invalid;
mod limits;
mod outline;
mod upload;
mod validate;

pub(crate) use self::upload::Uploads;
pub use self::validate::check_code;
