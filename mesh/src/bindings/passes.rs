//! Reconciliation passes, and waiting for one that began after a request.

use std::sync::Arc;

use tokio::sync::watch;

/// The passes of one replica. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Passes {
    requested: Arc<watch::Sender<u64>>,
    completed: Arc<watch::Sender<u64>>,
}

impl Passes {
    /// Requests a pass, and waits until one that began afterwards has succeeded. Then writes to the registry before this
    /// call are applied here.
    pub(super) async fn next(&self) {
        let mut number = 0;
        self.requested.send_modify(|requested| {
            *requested += 1;
            number = *requested;
        });
        let mut completed = self.completed.subscribe();
        // Cannot fail: `self` has the sender.
        let _ = completed.wait_for(|completed| *completed >= number).await;
    }

    /// Begins a pass, and returns the last request that it serves.
    pub(super) fn begin(&self) -> u64 {
        *self.requested.borrow()
    }

    /// Reports that the pass for this request has succeeded.
    pub(super) fn complete(&self, request: u64) {
        self.completed.send_replace(request);
    }

    /// Waits for a request after this one.
    pub(super) async fn requested_after(&self, request: u64) {
        let mut requested = self.requested.subscribe();
        // Cannot fail: `self` has the sender.
        let _ = requested.wait_for(|requested| *requested > request).await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_pass_serves_only_the_requests_before_it() {
        let passes = Passes::default();
        let mut first = Box::pin(passes.next());
        assert!((&mut first).now_or_never().is_none());
        let pass = passes.begin();
        assert!(passes.requested_after(pass).now_or_never().is_none());
        let mut second = Box::pin(passes.next());
        assert!((&mut second).now_or_never().is_none());
        passes.requested_after(pass).await;
        passes.complete(pass);
        first.await;
        assert!((&mut second).now_or_never().is_none(), "that pass began before the request");
        passes.complete(passes.begin());
        second.await;
    }
}
