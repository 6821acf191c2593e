//! Tests the files in `deploy/`: other programs accept them, and they name only what the services have.

mod compose;
mod guide;
mod healthcheck;
mod kubernetes;
mod network;
mod nomad;
mod settings;
mod systemd;
mod tools;
mod units;
