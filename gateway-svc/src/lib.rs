//! The gateway: the entry point of the mesh for clients.
//!
//! It has two ports and one set of tokens. The REST port (`rest`) serves the HTTP API of FunLess and
//! translates requests into gRPC calls; only it deals with HTTP statuses and JSON envelopes. The gRPC port
//! (`edge`) forwards calls of gRPC clients to the services behind it, limited to the methods in its table.
//! Both identify the user by the token (`auth`), call the other services on behalf of that user, and store a
//! script only if the scheduler can parse it (`scripts`).
//!
//! The gateway has no persistent state. It caches verified tokens for a few seconds, and for a grace period while the
//! registry cannot be reached. It keeps the highest revision of the registry that it has seen, so that an invocation
//! sees the write before it.

mod app;
mod auth;
mod body_rate;
mod clients;
mod config;
mod edge;
mod json;
mod metrics;
mod probe;
mod rest;
mod revision;
mod scripts;
mod subscriptions;
mod unknown_tokens;

pub use app::App;
pub use config::Config;
pub use rest::openapi;
