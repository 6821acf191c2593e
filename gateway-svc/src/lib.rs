//! The gateway: where clients enter the mesh.
//!
//! Two ports, one set of tokens. The REST port (`rest`) speaks the HTTP of FunLess and turns it
//! into calls of the other services; it is the only place that knows statuses and JSON envelopes.
//! The gRPC port (`edge`) lets gRPC clients call the services behind it as they are, and only
//! what its table allows. Both ask `auth` whose token a request carries, both store a script only
//! when the scheduler can read it (`scripts`), and everything behind them is called on behalf of
//! that user.
//!
//! The gateway keeps nothing: what it remembers are verified tokens, for a few seconds, and the
//! highest revision of the registry that it has seen, so that an invocation follows the write
//! before it.

mod app;
mod auth;
mod clients;
mod config;
mod edge;
mod json;
mod metrics;
mod probe;
mod rest;
mod revision;
mod scripts;

pub use app::App;
pub use config::Config;
pub use rest::openapi;
