//! Handlers: decode, call, encode.

mod cluster;
mod invocations;
mod membership;

pub use cluster::ClusterHandler;
pub use invocations::InvocationsHandler;
pub use membership::MembershipHandler;
