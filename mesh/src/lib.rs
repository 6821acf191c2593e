//! What every service of the mesh is made with: configuration, telemetry, the server stack,
//! channels, errors, health and shutdown. No business is in it.
//!
//! A service is an `App` that takes a [`Config`](config::ServiceConfig) and a [`Host`] and gives a
//! [`Service`](server::Service); [`run`](run::run) makes a process of one, and `fl up` puts six of
//! them into one process. The parts, in the order in which a request meets them:
//!
//! - [`channel`]: how one service calls another, over a socket, through a [`tunnel`] or directly in the
//!   process
//! - [`server`]: the stack around each service's handlers, and the accept loop
//! - [`auth`]: who calls
//! - [`deadline`]: how long the caller waits
//! - [`error`]: how a call fails
//! - [`receipt`]: what an invocation cost
//!
//! and beside them [`follow`], with which a service keeps up with the registry, [`bindings`], with
//! which the replicas of a service share what they run, [`dead_letters`], and what a service with a database
//! needs: `database` and `group_commit`.

pub mod admin;
pub mod auth;
pub mod backoff;
pub mod bindings;
pub mod channel;
pub mod clock;
pub mod config;
#[cfg(feature = "database")]
pub mod database;
pub mod dead_letters;
pub mod deadline;
pub mod endpoint;
pub mod error;
pub mod follow;
#[cfg(feature = "database")]
pub mod group_commit;
pub mod hash;
pub mod health;
mod http2;
pub mod listener;
pub mod metrics;
pub mod receipt;
mod reflection;
pub mod run;
pub mod server;
pub mod shutdown;
pub mod telemetry;
pub mod testing;
pub mod tls;
pub mod tunnel;

pub use auth::Caller;
pub use channel::{Channel, Dialer};
pub use error::{Error, Reason, reason_name};
pub use run::Host;

/// The largest message that a service sends or takes, in bytes. Arguments and results are the
/// largest of them; code travels in chunks.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// The header, in gRPC and in REST, of the registry's revision that holds a write.
pub const REVISION_HEADER: &str = "x-funless-revision";

/// The header, in gRPC and in REST, of the decision that chose an invocation's worker, or none.
pub const DECISION_HEADER: &str = "x-funless-decision";
