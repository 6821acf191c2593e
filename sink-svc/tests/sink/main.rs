//! Tests of the sink through its gRPC services, on SQLite and PostgreSQL, with real stores.

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
