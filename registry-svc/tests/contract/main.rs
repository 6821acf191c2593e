//! What the registry promises, through its gRPC, on SQLite and on PostgreSQL.

#[path = "../support/mod.rs"]
mod support;

mod code;
mod durability;
mod functions;
mod modules;
mod replicas;
mod scripts;
mod subjects;
mod watch;
