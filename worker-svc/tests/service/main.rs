//! The worker, called through its gRPC, with a real registry's and a real scheduler's side of the
//! wire, and functions written as WebAssembly text.

mod abi;
mod code;
mod hostile;
mod http;
mod load;
mod logs;
mod membership;
mod receipts;
mod support;
mod tunnel;
mod wasi;
