//! What the registry promises, through its gRPC, on SQLite and on PostgreSQL.

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
mod scripts;
mod subjects;
mod watch;
