//! The sink: stores that receive the results of functions.
//!
//! - `kinds`: the kinds of stores, one file per kind
//! - `outbox`: the database of undelivered results, dead letters and ledgers
//! - `delivery`: delivers results from the outbox to the stores
//! - `trace`: the spans of results
//! - `grpc`: the services for the scheduler, the gateway and users

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
