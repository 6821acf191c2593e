//! The worker runs functions.
//!
//! An `Execute` goes through these parts:
//!
//! 1. `grpc` decodes the call, and `admission` admits or refuses it at once
//! 2. `runtime::code_cache` has the function's code ready to run: from memory, from a compiled artifact
//!    on disk, or fetched from the registry (`code_source`) and compiled, in turn (`runtime::queue`) and in a
//!    process of its own (`runtime::compiler`)
//! 3. `runtime::invoke` makes a fresh instance of it within the limits of the function (`runtime::limits`)
//!    and calls it; the host functions that it can call are in `runtime::host`
//! 4. the end is an `outcome`, or an `error`
//!
//! In the background, `preparation` follows the registry, so that code is compiled before its first
//! invocation, and `report` tells each scheduler who this worker is, its load and what it has prepared. A
//! worker that schedulers cannot reach opens a `tunnel` to each of them first. `running` counts invocations
//! and `load` measures the machine, for reports and metrics. `logs` keeps the latest log lines of functions.
//!
//! Functions are WebAssembly, run by one wasmtime engine (`runtime::engine`). Nothing of one invocation is
//! visible to the next.

mod admission;
mod app;
mod budget;
mod code_source;
mod config;
mod error;
mod grpc;
mod load;
mod logs;
mod metrics;
mod outcome;
mod preparation;
mod report;
mod running;
mod runtime;
mod tunnel;

pub use app::App;
pub use config::{Advertise, Config};
pub use runtime::compile_if_asked;
