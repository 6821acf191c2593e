//! The registry's gRPC services: decode, call, encode.

mod bindings;
mod code;
mod functions;
mod modules;
mod scripts;
mod subjects;
mod watch;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tonic::Response;

use crate::registry::Registry;
use crate::watch::SubscriptionServer;

/// Serves all of the registry's services.
pub(crate) struct Handler {
    pub(crate) registry: Arc<Registry>,
    pub(crate) subscriptions: Arc<SubscriptionServer>,
    /// Cancelled when subscriptions should end.
    pub(crate) draining: CancellationToken,
}

/// The response to a write. The headers contain the revision, too, for proxies that forward the response
/// without decoding it.
fn written<T>(reply: T, revision: u64) -> Response<T> {
    let mut response = Response::new(reply);
    response.metadata_mut().insert(mesh::REVISION_HEADER, revision.into());
    response
}
