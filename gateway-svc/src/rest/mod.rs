//! The REST port. Only this module deals with HTTP statuses and JSON envelopes.

mod bindings;
mod conservation;
mod dead_letters;
mod docs;
mod error;
mod events;
mod explain;
mod extract;
mod functions;
mod invoke;
mod json;
mod linger;
mod logs;
mod modules;
mod raw;
mod reached;
mod receipt;
mod revision;
mod role;
mod router;
mod schema;
mod scripts;
mod simulate;
mod sinks;
mod stack;
mod status;
mod subjects;
mod upload;
mod workers;

use std::sync::Arc;
use std::time::Duration;

use mesh::Caller;
use mesh::deadline::Deadline;

pub use router::{openapi, router};

use crate::Config;
use crate::auth::Authenticator;
use crate::clients::Channels;
use crate::revision::LatestRevision;
use crate::subscriptions::Subscriptions;

/// The shared state of the handlers.
#[derive(Debug, Clone)]
struct Rest {
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    channels: Channels,
    authenticator: Authenticator,
    latest_revision: Arc<LatestRevision>,
    max_args_bytes: usize,
    max_code_bytes: u64,
    min_body_bytes_per_s: u32,
    request_timeout: Duration,
    wait_for_workers_timeout: Duration,
    binding_timeout: Duration,
    status_timeout: Duration,
    subscriptions: Subscriptions,
}

impl Rest {
    fn new(
        config: &Config,
        channels: Channels,
        authenticator: Authenticator,
        latest_revision: Arc<LatestRevision>,
        subscriptions: Subscriptions,
    ) -> Self {
        let parts = Parts {
            channels,
            authenticator,
            latest_revision,
            max_args_bytes: config.max_args_bytes,
            max_code_bytes: config.max_code_bytes,
            min_body_bytes_per_s: config.min_body_bytes_per_s,
            request_timeout: Duration::from_secs(config.request_timeout_s),
            wait_for_workers_timeout: Duration::from_secs(config.wait_for_workers_timeout_s),
            binding_timeout: Duration::from_secs(config.binding_timeout_s),
            status_timeout: Duration::from_millis(config.status_timeout_ms),
            subscriptions,
        };
        Self { parts: Arc::new(parts) }
    }

    /// A call on behalf of `caller`, with the gateway's timeout.
    fn request<T>(&self, caller: &Caller, message: T) -> tonic::Request<T> {
        caller.attach(Deadline::after(self.request_timeout).attach(message))
    }
}

impl std::ops::Deref for Rest {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}
