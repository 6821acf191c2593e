//! The scheduler: knows the functions and the workers, and sends each invocation to a worker.
//!
//! - `catalog`: the functions, fed by the registry's watch, so that no invocation asks a database
//! - `revisions`: waits until the catalog is as new as a caller asks for
//! - `cluster`: the workers as they are now; no IO
//! - `membership`: workers that join, report and leave, and `tunnels`, the ways to those that nobody can
//!   reach
//! - `measurements`: memory and CPU of the workers from Prometheus, instead of their reports
//! - `policy`: which worker takes an invocation; pure functions
//! - `invocation`: an invocation that has no worker yet
//! - `dispatch`: choose, call, classify what went wrong, try the next
//! - `decisions`: the latest choices, and `explain`: what led to them, in words
//! - `simulate`: a load placed on workers that do not exist, with the same code
//! - `logs`: what functions have logged, from all workers
//! - `delivery`: hands results over to the sinks of their functions

mod app;
mod catalog;
pub mod cluster;
mod config;
pub mod decisions;
mod delivery;
mod dispatch;
mod error;
mod explain;
mod grpc;
mod invocation;
mod logs;
mod measurements;
mod membership;
mod metrics;
pub mod policy;
mod revisions;
mod simulate;
mod tunnels;

pub use app::App;
pub use config::{Config, MetricsSource};
pub use dispatch::decide;
pub use invocation::{PendingInvocation, Policy};
