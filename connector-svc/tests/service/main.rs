//! What the connector promises, with real brokers.

#[path = "../support/mod.rs"]
mod support;

mod cron;
mod dead_letters;
mod egress;
mod invalid_events;
mod mqtt;
mod mqtt_faults;
mod nats;
mod replicas;
