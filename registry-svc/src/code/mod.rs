//! Receives and validates the binaries of functions.

mod imports;
mod upload;
mod validate;

pub(crate) use self::upload::Uploads;
