//! The binaries of functions: received and checked.

mod imports;
mod upload;
mod validate;

pub(crate) use self::upload::Uploads;
