//! Runs functions: wasmtime and everything around it.

mod artifacts;
mod backtrace;
mod code_cache;
mod compiler;
mod engine;
mod entry;
mod excerpt;
mod failure;
mod host;
mod instance;
mod invoke;
mod json_check;
pub(crate) mod limits;
mod loaded;
mod loaded_list;
mod prepared;
mod queue;
mod response;
mod run_queue;
#[cfg(test)]
pub(crate) mod testing;
mod ticker;
mod time_slices;
mod unusable;

pub(crate) use self::code_cache::{CodeCache, ReadyCode};
pub use self::compiler::child::compile_if_asked;
pub(crate) use self::host::EGRESS_KIND;
pub(crate) use self::invoke::{Invocation, Runtime, RuntimeParts};
pub(crate) use self::queue::Demand;
pub(crate) use self::response::Response;
