//! The payloads of messages that are in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// How many bytes of payloads a binding holds, give or take a buffer: 64 messages of the size that servers accept
/// unless they are told otherwise.
pub const MAX_PAYLOAD_BYTES: usize = 64 << 20;

/// The payloads of one binding, those in the client and those that are being handled. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Payloads(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    bytes: AtomicUsize,
    released: Notify,
}

/// A payload that is being handled.
#[derive(Debug)]
pub struct HeldPayload {
    payloads: Payloads,
    bytes: usize,
}

/// The payloads that the client of one connection has and has not handed over.
#[derive(Debug, Clone)]
pub(super) struct Unclaimed(Arc<ClientPayloads>);

#[derive(Debug)]
struct ClientPayloads {
    payloads: Payloads,
    bytes: AtomicUsize,
}

impl Payloads {
    fn release(&self, bytes: usize) {
        self.0.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.0.released.notify_waiters();
    }

    fn has_room(&self) -> bool {
        self.0.bytes.load(Ordering::Relaxed) < MAX_PAYLOAD_BYTES
    }
}

impl Unclaimed {
    pub(super) fn new(payloads: Payloads) -> Self {
        Self(Arc::new(ClientPayloads { payloads, bytes: AtomicUsize::new(0) }))
    }

    /// The client gets these bytes of payloads.
    pub(super) fn add(&self, bytes: usize) {
        self.0.payloads.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The client has handed over a payload.
    pub(super) fn claim(&self, bytes: usize) -> HeldPayload {
        self.0.bytes.fetch_sub(bytes, Ordering::Relaxed);
        HeldPayload { payloads: self.0.payloads.clone(), bytes }
    }

    /// Waits until the client may get more.
    pub(super) async fn room(&self) {
        let payloads = &self.0.payloads;
        loop {
            let released = payloads.0.released.notified();
            if payloads.has_room() {
                return;
            }
            released.await;
        }
    }
}

impl Drop for HeldPayload {
    fn drop(&mut self) {
        self.payloads.release(self.bytes);
    }
}

impl Drop for ClientPayloads {
    fn drop(&mut self) {
        // The client is gone with its connection.
        self.payloads.release(*self.bytes.get_mut());
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn payloads_count_until_they_are_handled() {
        let payloads = Payloads::default();
        let (former, unclaimed) = (Unclaimed::new(payloads.clone()), Unclaimed::new(payloads.clone()));
        former.add(MAX_PAYLOAD_BYTES / 2);
        unclaimed.add(MAX_PAYLOAD_BYTES / 2 - 1);
        assert!(unclaimed.room().now_or_never().is_some(), "there is room for a byte");
        unclaimed.add(1);
        let mut room = Box::pin(unclaimed.room());
        assert!(room.as_mut().now_or_never().is_none(), "it is full");
        let held = former.claim(10);
        assert!(room.as_mut().now_or_never().is_none(), "what is handled counts, too");
        drop(held);
        assert!(room.now_or_never().is_some(), "a payload has been handled");
        drop(former);
        assert_eq!(payloads.0.bytes.load(Ordering::Relaxed), MAX_PAYLOAD_BYTES / 2, "one connection is left");
        drop(unclaimed);
        assert_eq!(payloads.0.bytes.load(Ordering::Relaxed), 0);
    }
}
