//! Support for end-to-end tests: a mesh of real binaries, with real servers and real functions.
//!
//! - [`Mesh`]: `fl up` in each [`Shape`], on free ports, with its data in a temporary folder
//! - [`ExtraWorker`], [`ExtraScheduler`]: additional services with their own settings
//! - [`Client`]: a REST client; [`grpc`]: a gRPC client; [`fl`](mod@fl): the command-line client
//! - [`guests`]: functions, well-behaved and hostile
//! - [`gate`] and [`receiver`]: web servers for functions to call and for posted results
//! - [`collector`]: a collector for traces
//! - [`servers`]: PostgreSQL, Mosquitto, NATS, Prometheus and PouchDB Server as CouchDB
//! - [`chaos`]: events and results while parts are killed; [`publisher`]: publishes the events
//! - [`outages`]: what callers see while a part of the mesh is away
//! - [`harness`]: runs each case against each shape
//!
//! Everything that is started stops when its owner is dropped. Nothing here waits for a fixed time: it waits
//! for a condition, and names the condition on a timeout.

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
pub mod outages;
pub mod process;
pub mod publisher;
pub mod receiver;
pub mod servers;
pub mod wait;

pub use client::{Answer, Client};
pub use extra_worker::{ExtraScheduler, ExtraWorker};
pub use mesh_up::{Mesh, ServicePlace, Shape};
