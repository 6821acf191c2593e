//! What end-to-end tests need: a mesh of real binaries, real servers beside it, real functions.
//!
//! - [`Mesh`]: `fl up` in each [`Shape`], on free ports, with its data in a temporary folder
//! - [`ExtraWorker`], [`ExtraScheduler`]: services with settings of their own beside such a mesh
//! - [`Client`]: a user of its REST surface; [`grpc`]: one of its gRPC port; [`fl`](mod@fl): one at a terminal
//! - [`guests`]: functions, well-behaved and hostile
//! - [`gate`] and [`receiver`]: web servers that functions call and results are posted to
//! - [`collector`]: where traces go
//! - [`servers`]: PostgreSQL, Mosquitto, NATS, Prometheus and a CouchDB, real ones
//! - [`chaos`]: events and results while everything is killed; [`publisher`]: where the events come from
//! - [`harness`]: runs each case against each shape
//!
//! Everything that is started ends with its owner. Nothing here waits for a time: it waits for a
//! condition, and says which when that does not come.

pub mod chaos;
pub mod client;
pub mod collector;
mod extra_worker;
pub mod fl;
pub mod gate;
pub mod grpc;
pub mod guests;
pub mod harness;
mod mesh_up;
pub mod process;
pub mod publisher;
pub mod receiver;
pub mod servers;
pub mod wait;

pub use client::{Answer, Client};
pub use extra_worker::{ExtraScheduler, ExtraWorker};
pub use mesh_up::{Mesh, ServicePlace, Shape};
