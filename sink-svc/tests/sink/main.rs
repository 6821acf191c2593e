//! What the sink promises, through its gRPC, on SQLite and on PostgreSQL, with real stores.

#[path = "../support/mod.rs"]
mod support;

mod couchdb;
mod dead_letters;
mod nats;
mod outages;
mod outbox;
mod removed;
mod replicas;
mod status;
mod traces;
mod webhook;
