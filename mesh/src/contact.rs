//! The contact with the registry. A service that has lost it goes on with what it knows.

use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::Error;
use crate::metrics::read_gauge;

/// The message of calls that fail because the registry cannot be reached. It names no address, so clients may read it.
pub const REGISTRY_UNREACHABLE: &str = "the registry cannot be reached";

/// Whether the registry answers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RegistryContact {
    /// Since when the registry has not answered; `None` while it answers.
    lost: Arc<watch::Sender<Option<Instant>>>,
}

impl RegistryContact {
    /// A contact that is not lost yet, and its gauge in `metrics`.
    pub fn new(metrics: &Registry) -> Self {
        let this = Self { lost: Arc::new(watch::Sender::new(None)) };
        let contact = this.clone();
        read_gauge(
            metrics,
            "funless_registry_unreachable_seconds",
            "How long the registry has not been reachable; 0 while it is.",
            &[],
            move || contact.lost_since().map_or(0.0, |since| since.elapsed().as_secs_f64()),
        );
        this
    }

    /// Sets whether the registry answers. Logs each change.
    pub fn set(&self, answers: bool) {
        self.lost.send_if_modified(|lost| match (*lost, answers) {
            (Some(since), true) => {
                tracing::info!(outage = ?since.elapsed(), "the registry can be reached again");
                *lost = None;
                true
            }
            (None, false) => {
                tracing::warn!("{REGISTRY_UNREACHABLE}; this service goes on with what it knows");
                *lost = Some(Instant::now());
                true
            }
            (Some(_), false) | (None, true) => false,
        });
    }

    /// Since when the registry has not answered; `None` while it answers.
    pub fn lost_since(&self) -> Option<Instant> {
        *self.lost.borrow()
    }

    /// Completes once the contact is lost, and after `limit` at the latest.
    pub async fn lost_within(&self, limit: Duration) {
        let mut lost = self.lost.subscribe();
        // The sender lives as long as `self`.
        let _ = tokio::time::timeout(limit, lost.wait_for(Option::is_some)).await;
    }

    /// The error of calls to the registry while the contact is lost. They have not started.
    pub fn error() -> Error {
        Error::unavailable(REGISTRY_UNREACHABLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_outage_lasts_from_the_first_failure_to_the_first_answer() {
        let metrics = Registry::new();
        let contact = RegistryContact::new(&metrics);
        let seconds = || {
            let page = prometheus::TextEncoder::new().encode_to_string(&metrics.gather()).expect("a text");
            let line = page.lines().find(|line| line.starts_with("funless_registry_unreachable_seconds"));
            line.and_then(|line| line.rsplit_once(' ')).expect("a sample").1.to_owned()
        };
        contact.set(true);
        assert_eq!((contact.lost_since(), seconds().as_str()), (None, "0"));
        contact.set(false);
        let since = contact.lost_since();
        for _ in 0..2 {
            tokio::time::advance(Duration::from_secs(30)).await;
            contact.set(false);
        }
        assert_eq!((contact.lost_since(), seconds().as_str()), (since, "60"));
        contact.set(true);
        assert_eq!((contact.lost_since(), seconds().as_str()), (None, "0"));
    }
}
