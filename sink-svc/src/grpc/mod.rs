//! The sink's gRPC services: decode, call, encode.

mod dead_letters;
mod delivery;
mod sinks;

use mesh::bindings::Lookup;

use crate::kinds::Network;
use crate::metrics::Metrics;
use crate::outbox::Outbox;
use crate::trace::Stores;

/// Serves all of the sink's services.
#[derive(Debug)]
pub(crate) struct Handler {
    pub(crate) outbox: Outbox,
    pub(crate) network: Network,
    pub(crate) metrics: Metrics,
    pub(crate) stores: Stores,
    /// Finds the statuses of bindings on all replicas.
    pub(crate) lookup: Lookup,
}
