//! The sink's gRPC services: decode, call, encode.

mod dead_letters;
mod delivery;
mod sinks;

use mesh::bindings::StatusBoard;
use mesh::channel::{Channel, Dialer, Endpoint};

use crate::kinds::Http;
use crate::metrics::Metrics;
use crate::outbox::Outbox;

/// Serves all of the sink's services.
#[derive(Debug)]
pub(crate) struct Handler {
    pub(crate) outbox: Outbox,
    pub(crate) http: Http,
    pub(crate) metrics: Metrics,
    /// How the bindings that run here do.
    pub(crate) board: StatusBoard,
    /// Who knows which replica runs the others.
    pub(crate) registry: Channel,
    pub(crate) dialer: Dialer,
    /// Where other replicas reach this one.
    pub(crate) address: Endpoint,
}
