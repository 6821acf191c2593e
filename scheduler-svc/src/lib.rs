//! The scheduler: knows the functions and the workers, and sends each invocation to a worker.
//!
//! - `catalog`: the functions and scripts, kept up to date by the registry's watch, so that no invocation
//!   queries a database
//! - `revisions`: waits until the catalog has reached a revision
//! - `cluster`: the workers as they are now; no IO
//! - `membership`: workers that join, report and leave; `tunnels`: those that workers behind NAT have opened
//! - `measurements`: memory and CPU use of the workers from Prometheus, instead of their reports
//! - `policy`: which worker takes an invocation; pure functions
//! - `invocation`: an invocation that has no worker yet
//! - `dispatch`: chooses a worker, calls it, and retries on another one
//! - `decisions`: remembers the latest decisions; `explain`: explains them in words
//! - `simulate`: places a load on simulated workers, with the same code
//! - `logs`: reads the logs of functions from all workers
//! - `delivery`: delivers results to the sinks of their functions

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
