//! Running bindings: what the services of event sources and of sinks share.
//!
//! The registry has the desired state and shares it out among the replicas of a service by lease. A
//! [`Replica`] makes what runs here equal to its share; each binding that runs has a [`HeldBinding`], and
//! tells on the [`StatusBoard`] how it does.

mod lookup;
mod passes;
mod replica;
mod status;

pub use self::lookup::{Lookup, Question, forward};
pub use self::replica::{End, HeldBinding, Replica, find_existing, find_holders};
pub use self::status::{Report, StatusBoard};
