//! The worker runs functions.
//!
//! One `Execute` goes through these parts, in this order:
//!
//! 1. `grpc` decodes the call and `admission` lets it in, or refuses it at once
//! 2. `runtime::code_cache` has the function's code ready to run: from memory, from a compiled artifact
//!    on disk, or fetched from the registry (`code_source`) and compiled
//! 3. `runtime::invoke` makes a fresh instance of it, within its limits (`runtime::limits`), calls it,
//!    and tells how that ended; what the function calls on its way is in `runtime::host`
//!
//! Beside that, `preparation` follows the registry so that code is compiled before it is first called,
//! and `report` tells each scheduler who this worker is, how loaded it is and what it has prepared. A
//! worker that nobody can reach opens a `tunnel` to each of them first. `work` counts what runs, `load`
//! measures what is left; Prometheus can read both. `logs` remembers what functions have logged.
//!
//! Functions are WebAssembly, run by one wasmtime engine (`runtime::engine`). Nothing of one
//! invocation is visible to the next, and whatever a function does ends with its own error: `error`
//! lists them.

mod admission;
mod app;
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
