//! The connector: event sources that trigger functions.
//!
//! - `kinds`: what each kind of event source takes; one file a kind
//! - `grpc`: what the gateway asks about events
//!
//! It checks events and tells their state. It does not connect to their sources yet, and says so.

mod app;
mod config;
mod grpc;
mod kinds;

pub use app::App;
pub use config::Config;
