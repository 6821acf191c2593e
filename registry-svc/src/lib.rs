//! The registry: the record of modules, functions, their code and bindings, scripts and subjects.
//! It has the only database of record; every other service follows it.
//!
//! A request goes through three layers, which name what they do alike:
//!
//! - `grpc`: decode, call, encode
//! - `registry`, and beside it `modules`, `functions`, `scripts`, `subjects`, `bindings`, `leases`,
//!   `code` and `downloads`: what is allowed and what is valid
//! - `store`: the database, PostgreSQL or SQLite; nothing outside of it knows SQL
//!
//! Every write is one transaction that takes the next *revision*, changes the rows and appends to
//! the change log what it changed. Writers take turns at the revision, so that the order of
//! revisions is the order of commits, and nothing is read that could still change. `watch` hands
//! the change log to everyone who follows the registry, through this replica or another. Leases of
//! bindings are no part of that: they say who runs what at the moment, and have turns of their own.
//!
//! Parameters of bindings hold secrets. They are encrypted where they are stored, redacted where they
//! are read, and given in clear to the services that run them.

mod app;
mod binding_identity;
mod bindings;
mod code;
mod config;
mod downloads;
mod error;
mod functions;
mod grpc;
mod keyring;
mod leases;
mod metrics;
mod modules;
mod names;
mod redaction;
mod registry;
mod scripts;
mod store;
mod subjects;
mod watch;

pub use app::App;
pub use config::Config;
pub use mesh::database::DatabaseUrl;
