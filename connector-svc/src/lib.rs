//! The connector: event sources that trigger functions, without losing events.
//!
//! - `kinds`: the event sources, one file or folder per kind
//! - `handling`: the parameters that are common to all kinds
//! - `event`: events, and how they become arguments of functions
//! - `intake`: the event pipeline, shared by all kinds: journal, invocation, outcome
//! - `dead_letter`: the dead letters of events
//! - `trace`: the spans of events
//! - `invoker`: invokes functions through the scheduler, and classifies failures
//! - `retries`: when an invocation is retried
//! - `journal`: events in flight, counts and dead letters; the only module that knows SQL
//! - `sweep`: marks the events of removed bindings as lost
//! - `grpc`: statuses, counts and dead letters
//!
//! An event is written to the journal before its function runs, and acknowledged to its source after the invocation
//! has succeeded, when the function's sinks have the result. A redelivery in between causes the same invocation.

mod app;
mod arrival;
mod binding;
mod config;
mod dead_letter;
mod error;
mod event;
mod grpc;
mod handling;
mod intake;
mod invoker;
mod journal;
mod keyed_mutex;
mod kinds;
mod metrics;
mod retries;
mod sweep;
mod trace;

pub use app::App;
pub use config::Config;
pub use kinds::{MqttInvocation, MqttMessage, read_mqtt};
