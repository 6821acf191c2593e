//! Follows the registry's watch, for every service that does.

use proto::registry::v1::watch_client::WatchClient;
use proto::registry::v1::watch_response::Body;
use proto::registry::v1::{Change, Snapshot, WatchRequest};

use crate::MAX_MESSAGE_BYTES;
use crate::backoff::Backoff;
use crate::channel::Channel;
use crate::error::Error;
use crate::health::Condition;

/// An update from the registry, with the registry's revision after it.
#[derive(Debug)]
pub enum Update {
    /// The whole state. Replaces the previous one.
    Snapshot(Snapshot, u64),
    /// The changes of one revision.
    Changes(Vec<Change>, u64),
}

/// Follows the registry forever and passes each update to `take`, in order. A lost stream is reopened and
/// starts with a new snapshot. `following` holds while the stream is up.
pub async fn follow(registry: Channel, following: Condition, take: impl FnMut(Update) + Send) {
    follow_with(registry, WatchRequest::default(), following, take).await;
}

/// Like [`follow`], without the contents: `changed` is called when something may have changed.
pub async fn follow_revisions(registry: Channel, following: Condition, mut changed: impl FnMut() + Send) {
    let request = WatchRequest { only_revisions: true };
    follow_with(registry, request, following, |_| changed()).await;
}

async fn follow_with(
    registry: Channel,
    request: WatchRequest,
    following: Condition,
    mut take: impl FnMut(Update) + Send,
) {
    let mut client = WatchClient::new(registry).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let mut backoff = Backoff::reconnect();
    loop {
        let lost = follow_once(&mut client, request, &following, &mut backoff, &mut take).await;
        following.set(false);
        let wait = backoff.next_wait();
        tracing::debug!(%lost, ?wait, "the registry's watch ended; reconnecting");
        tokio::time::sleep(wait).await;
    }
}

async fn follow_once(
    client: &mut WatchClient<Channel>,
    request: WatchRequest,
    following: &Condition,
    backoff: &mut Backoff,
    take: &mut (impl FnMut(Update) + Send),
) -> Error {
    let mut stream = match client.watch(request).await {
        Ok(response) => response.into_inner(),
        Err(status) => return status.into(),
    };
    let mut snapshot = Snapshot::default();
    loop {
        let message = match stream.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return Error::unavailable("the registry ended the stream"),
            Err(status) => return status.into(),
        };
        match message.body {
            Some(Body::Snapshot(part)) => {
                snapshot.modules.extend(part.modules);
                snapshot.functions.extend(part.functions);
                snapshot.scripts.extend(part.scripts);
                if part.complete {
                    take(Update::Snapshot(std::mem::take(&mut snapshot), message.revision));
                    following.set(true);
                    backoff.reset();
                }
            }
            Some(Body::Changes(set)) => take(Update::Changes(set.changes, message.revision)),
            None => tracing::warn!(message.revision, "the registry sent an unknown kind of message"),
        }
    }
}
