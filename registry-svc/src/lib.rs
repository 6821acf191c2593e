//! The registry: the source of truth for modules, functions, their code and bindings, scripts and subjects.
//! All other services follow it.
//!
//! A request passes through three layers, which use the same method names:
//!
//! - `grpc`: decode, call, encode
//! - `registry` with `modules`, `functions`, `scripts`, `subjects`, `bindings`, `leases`, `code` and
//!   `downloads`: authorization and validation
//! - `store`: the database, PostgreSQL or SQLite; no other module uses SQL
//!
//! Each write is one transaction that takes the next *revision*, changes the rows and appends the changes to
//! the change log. Writers are serialized by a lock on the revision. Therefore revisions are committed in
//! order, and what a writer has read does not change until it commits. `watch` streams the change log to the
//! watchers of every replica. Leases of bindings are not part of the revisions: they are transient, and their
//! writers are serialized separately.
//!
//! Parameters of bindings contain secrets. They are encrypted in the database, redacted in responses, and
//! returned in plaintext only to the services that run the bindings.

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
mod known_bindings;
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
pub use code::check_code;
pub use config::Config;
pub use mesh::database::DatabaseUrl;
