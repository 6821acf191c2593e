//! The sink: stores that receive the results of functions.
//!
//! - `kinds`: what each kind of store takes, and how it is delivered to; one file a kind
//! - `outbox`: the database: results until they are delivered, dead letters, ledgers
//! - `delivery`: from the outbox to the stores
//! - `trace`: what traces say of results
//! - `grpc`: what scheduler, gateway and users ask

mod app;
mod config;
mod delivery;
mod error;
mod grpc;
mod kinds;
mod metrics;
mod outbox;
mod trace;

pub use app::App;
pub use config::Config;
