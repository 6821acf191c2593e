//! Running bindings: what the services of event sources and of sinks share.
//!
//! The registry has the desired state and assigns bindings to the replicas of a service by lease. A [`Replica`]
//! reconciles what runs here with its assignment; each running binding has a [`HeldBinding`], and reports its status
//! to the [`StatusBoard`].

mod lookup;
mod params;
mod passes;
mod replica;
mod status;

pub use self::lookup::{Lookup, Question, forward};
pub use self::params::{BindingParams, refuse_redacted};
pub use self::replica::{End, HeldBinding, Replica, find_existing, find_holders, share_of};
pub use self::status::{Report, StatusBoard};
