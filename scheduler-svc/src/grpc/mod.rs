//! Handlers: decode, call, encode.

mod cluster;
mod invocations;
mod logs;
mod membership;
mod policies;
mod script;
mod simulations;

pub use cluster::ClusterHandler;
pub use invocations::InvocationsHandler;
pub use logs::LogsHandler;
pub use membership::MembershipHandler;
pub use policies::PoliciesHandler;
