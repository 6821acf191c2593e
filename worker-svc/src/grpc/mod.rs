//! The handlers: decode, call, encode.

mod execution;
mod logs;

pub(crate) use self::execution::ExecutionService;
pub(crate) use self::logs::LogsService;
