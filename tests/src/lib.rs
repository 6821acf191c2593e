//! What end-to-end tests need: a mesh of real binaries, real servers beside it, real functions.
//!
//! - [`Mesh`]: `fl up` in each [`Shape`], on free ports, with its data in a temporary folder
//! - [`Client`]: a user of its REST surface; [`grpc`]: one of its gRPC port; [`fl`](mod@fl): one at a terminal
//! - [`guests`]: functions, well-behaved and hostile
//! - [`servers`]: PostgreSQL, Mosquitto, Prometheus and a CouchDB, real ones
//! - [`harness`]: runs each case against each shape
//!
//! Everything that is started ends with its owner. Nothing here waits for a time: it waits for a
//! condition, and says which when that does not come.

pub mod client;
pub mod fl;
pub mod gate;
pub mod grpc;
pub mod guests;
pub mod harness;
mod mesh_up;
pub mod process;
pub mod servers;
pub mod wait;

pub use client::{Answer, Client};
pub use mesh_up::{Mesh, ServicePlace, Shape};
