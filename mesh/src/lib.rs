//! The common base of every service of the mesh: configuration, telemetry, the server stack, channels,
//! errors, health and shutdown. It contains no business logic.
//!
//! A service is an `App` that takes a [`Config`](config::ServiceConfig) and a [`Host`] and returns a
//! [`Service`](server::Service). [`run`](run::run) runs one as a process; `fl up` runs all six in one
//! process. The parts, in the order in which a request passes them:
//!
//! - [`channel`]: how one service calls another, over a socket, through a [`tunnel`] or directly in the
//!   process
//! - [`server`]: the stack around each service's handlers, and the accept loop
//! - [`auth`]: the caller
//! - [`deadline`]: the deadlines of calls
//! - [`error`]: errors of calls
//! - [`receipt`]: the cost of an invocation
//!
//! In addition, [`follow`] follows the registry's watch, [`contact`] tells whether the registry answers,
//! [`bindings`] distributes bindings among the replicas of a service, [`dead_letters`] is shared by event sources
//! and sinks, [`wasm`] has the limits that the registry checks and workers reserve memory for, and `database` and
//! `group_commit` are for services with a database. [`egress`] decides which addresses outside the mesh functions,
//! sinks and event sources may connect to, and makes their connections. [`clock`] follows the wall clock, and
//! [`fair_limit`] and [`keyed_limit`] limit concurrency, fairly and by key, and [`paging`] splits lists.

pub mod admin;
pub mod auth;
pub mod backoff;
pub mod bindings;
pub mod channel;
pub mod clock;
pub mod config;
pub mod contact;
#[cfg(feature = "database")]
pub mod database;
pub mod dead_letters;
pub mod deadline;
pub mod egress;
pub mod endpoint;
pub mod error;
pub mod fair_limit;
pub mod follow;
#[cfg(feature = "database")]
pub mod group_commit;
pub mod hash;
pub mod health;
mod healthcheck;
mod http2;
pub mod keyed_limit;
pub mod listener;
pub mod log_limit;
pub mod metrics;
pub mod paging;
pub mod printable;
pub mod receipt;
mod reflection;
pub mod run;
pub mod server;
pub mod shutdown;
pub mod telemetry;
pub mod testing;
pub mod tls;
pub mod tunnel;
pub mod wasm;

pub use auth::Caller;
pub use channel::{Channel, Dialer};
pub use error::{Error, Reason, reason_name};
pub use run::Host;

/// The maximum size of a message, in bytes. Arguments and results are the largest messages; code is sent in
/// chunks.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// The header, in gRPC and in REST, with the registry's revision that contains a write.
pub const REVISION_HEADER: &str = "x-funless-revision";

/// The header, in gRPC and in REST, with the id of an invocation's placement decision.
pub const DECISION_HEADER: &str = "x-funless-decision";
