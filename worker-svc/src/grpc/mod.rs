//! The handlers: decode, call, encode.

mod execution;
mod logs;

pub(crate) use self::execution::ExecutionHandler;
pub(crate) use self::logs::LogsHandler;
