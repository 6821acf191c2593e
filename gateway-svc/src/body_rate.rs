//! A minimum rate for the bodies of requests, on both ports: a body that drips would hold a permit for long.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use mesh::{Error, Reason};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;

/// How long a body may be slower than the minimum rate.
const PATIENCE: Duration = Duration::from_secs(10);

/// A body that fails if it arrives too slowly. Only the time in which its reader waits for the client counts.
pub(crate) struct RatedBody {
    body: Body,
    /// How long each byte lets the client wait.
    per_byte: Duration,
    /// How long the reader still waits for the client; at most [`PATIENCE`].
    patience: Duration,
    /// Since when the reader waits, and until when.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
    too_slow: TooSlow,
}

/// Whether a body has been cut off.
#[derive(Debug, Clone, Default)]
pub(crate) struct TooSlow(Arc<AtomicBool>);

impl TooSlow {
    /// Whether the body has been cut off because it arrived too slowly.
    pub(crate) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl RatedBody {
    /// Requires `min_bytes_per_s` of `body`; 0: any rate. Sets `too_slow` when it is cut off.
    pub(crate) fn wrap(body: Body, min_bytes_per_s: u32, too_slow: &TooSlow) -> Body {
        if min_bytes_per_s == 0 || http_body::Body::is_end_stream(&body) {
            return body;
        }
        let per_byte = Duration::from_secs(1) / min_bytes_per_s;
        let too_slow = too_slow.clone();
        Body::new(Self { body, per_byte, patience: PATIENCE, waiting: None, too_slow })
    }

    fn received(&mut self, bytes: usize) {
        let waited = self.waiting.take().map_or(Duration::ZERO, |(since, _)| since.elapsed());
        let earned = self.per_byte.saturating_mul(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.patience = self.patience.saturating_sub(waited).saturating_add(earned).min(PATIENCE);
    }
}

impl http_body::Body for RatedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
            let bytes = data.map_or(0, Bytes::len);
            self.received(bytes);
            return Poll::Ready(frame);
        }
        let now = Instant::now();
        let until = now + self.patience;
        let (_, sleep) = self.waiting.get_or_insert_with(|| (now, Box::pin(sleep_until(until))));
        sleep.as_mut().poll(context).map(|()| {
            self.too_slow.0.store(true, Ordering::Relaxed);
            let error = Error::new(Reason::DeadlineExceeded, "the body arrives too slowly");
            Some(Err(axum::Error::new(Status::from(error))))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use http_body_util::BodyExt as _;

    use super::*;

    /// Sends `pieces` pieces of `bytes` bytes, one every `pause`. Returns how long the body lasted, and whether it was
    /// cut off.
    async fn send(pieces: u32, bytes: usize, pause: Duration) -> (Duration, bool) {
        let piece = move |_| async move {
            tokio::time::sleep(pause).await;
            Ok::<_, axum::Error>(Bytes::from(vec![b' '; bytes]))
        };
        let body = Body::from_stream(futures::stream::iter(0..pieces).then(piece));
        let (began, too_slow) = (Instant::now(), TooSlow::default());
        let collected = RatedBody::wrap(body, 100, &too_slow).collect().await;
        assert_eq!(collected.is_err(), too_slow.get());
        (began.elapsed(), too_slow.get())
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_is_cut_off() {
        let seconds = Duration::from_secs;
        let cases = [
            // Exactly the rate, and one without pauses.
            ((1000, 100, seconds(1)), (seconds(1000), false)),
            ((1000, 1, Duration::ZERO), (Duration::ZERO, false)),
            // Slower than the rate, but only for a while.
            ((9, 1, seconds(1)), (seconds(9), false)),
            // Pauses that earlier bytes do not pay for.
            ((2, 1_000_000, seconds(11)), (seconds(10), true)),
            // One byte a second earns 10 ms each.
            ((1000, 1, seconds(1)), (Duration::from_millis(10_100), true)),
            // Half the rate: the patience lasts for twice its time.
            ((1000, 50, seconds(1)), (Duration::from_millis(19_500), true)),
        ];
        for ((pieces, bytes, pause), (lasts, is_cut)) in cases {
            let (lasted, was_cut) = send(pieces, bytes, pause).await;
            let differs = lasted.abs_diff(lasts);
            let message = format!("{pieces} pieces of {bytes} bytes: {lasted:?}, {was_cut}");
            assert!(differs <= Duration::from_millis(600) && was_cut == is_cut, "{message}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_not_the_clients_fault() {
        let body = Body::from_stream(futures::stream::iter([1; 5]).map(|_| Ok::<_, axum::Error>("x")));
        let too_slow = TooSlow::default();
        let mut body = RatedBody::wrap(body, 100, &too_slow);
        while let Some(frame) = body.frame().await {
            frame.expect("in time");
            tokio::time::sleep(2 * PATIENCE).await;
        }
        assert!(!too_slow.get());
    }
}
