//! The sink: stores that receive the results of functions.
//!
//! - `kinds`: what each kind of store takes; one file a kind
//! - `grpc`: what the gateway asks about sinks
//!
//! It checks sinks and tells their state. It takes no results for delivery yet, and says so.

mod app;
mod config;
mod grpc;
mod kinds;

pub use app::App;
pub use config::Config;
