//! Bounds the headers of parts, which the parser keeps in memory however long they are.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};

/// The maximum size of a part's header, in bytes.
pub(super) const MAX_HEADER_BYTES: usize = 16 << 10;

/// How many bytes the parser may read before a part's header has to be complete. Clones share the number.
#[derive(Debug, Clone)]
pub(super) struct HeaderBudget(Arc<AtomicUsize>);

/// The budget while the parser reads no header.
const UNLIMITED: usize = usize::MAX;

impl Default for HeaderBudget {
    fn default() -> Self {
        Self(Arc::new(AtomicUsize::new(UNLIMITED)))
    }
}

impl HeaderBudget {
    /// The parser begins to read a header.
    pub(super) fn begin(&self) {
        self.0.store(MAX_HEADER_BYTES, Ordering::Relaxed);
    }

    /// The parser has read the header. What it reads next are data.
    pub(super) fn end(&self) {
        self.0.store(UNLIMITED, Ordering::Relaxed);
    }

    /// Whether a header was longer than the limit.
    pub(super) fn is_exhausted(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    fn spend(&self, bytes: usize) {
        let left = self.0.load(Ordering::Relaxed);
        if left != UNLIMITED {
            self.0.store(left.saturating_sub(bytes), Ordering::Relaxed);
        }
    }
}

/// A body that ends with an error when the budget is exhausted.
///
/// The parser reads as long as there is something to read. So this body is pending after each chunk: the parser sees
/// whether the header is complete before it gets the next one.
struct Budgeted {
    chunks: BodyDataStream,
    budget: HeaderBudget,
    is_paused: bool,
}

/// `body`, of which each part's header takes from `budget`.
pub(super) fn budgeted(body: Body, budget: HeaderBudget) -> Body {
    Body::from_stream(Budgeted { chunks: body.into_data_stream(), budget, is_paused: false })
}

impl Stream for Budgeted {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.is_paused) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.budget.is_exhausted() {
            return Poll::Ready(Some(Err(axum::Error::new("the header of a part is too long"))));
        }
        let chunk = std::task::ready!(self.chunks.poll_next_unpin(context));
        if let Some(Ok(bytes)) = &chunk {
            self.is_paused = true;
            self.budget.spend(bytes.len());
        }
        Poll::Ready(chunk)
    }
}
