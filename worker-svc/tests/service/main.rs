//! The worker through its gRPC services, with servers in place of the registry and the scheduler, and with
//! functions in WebAssembly text.

mod abi;
mod budget;
mod code;
mod compile;
mod egress;
mod hostile;
mod http;
mod idle;
mod load;
mod logs;
mod membership;
mod receipts;
mod support;
mod tunnel;
mod wasi;
