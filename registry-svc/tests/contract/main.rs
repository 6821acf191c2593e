//! Tests the registry's contract through its gRPC API, with SQLite and PostgreSQL.

#[path = "../support/mod.rs"]
mod support;

mod bindings;
mod code;
mod durability;
mod encryption;
mod functions;
mod holders;
mod leases;
mod modules;
mod replicas;
mod scale;
mod scripts;
mod subjects;
mod watch;
