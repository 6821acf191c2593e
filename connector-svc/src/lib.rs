//! The connector: event sources that trigger functions, and nothing lost.
//!
//! - `kinds`: the event sources; one file a kind
//! - `intake`: the way of an event, the same for all kinds: journal, invocation, what becomes of it
//! - `handling`: what every kind lets its bindings say about that
//! - `trace`: what traces say of events
//! - `event`: an event, and the function's argument that it becomes
//! - `invoker`: asking the scheduler, and telling failures apart
//! - `journal`: what is in flight, what became of all, and what died; the only module that knows SQL
//! - `sweep`: forgetting the events of bindings that were removed while no connector ran
//! - `grpc`: what the gateway asks about events, and dead letters
//!
//! An event is in the journal before its function runs, and is acknowledged to its source after the
//! invocation has succeeded, which is when the function's sinks have the result. What comes again in
//! between causes the same invocation.

mod app;
mod arrival;
mod binding;
mod config;
mod dead_letter;
mod event;
mod grpc;
mod handling;
mod intake;
mod invoker;
mod journal;
mod kinds;
mod log_limit;
mod metrics;
mod sweep;
mod trace;
mod turns;

pub use app::App;
pub use config::Config;
