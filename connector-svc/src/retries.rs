//! When the invocation of an event is retried.

use std::time::Duration;

use mesh::Reason;
use mesh::backoff::Backoff;

use crate::handling::Handling;
use crate::invoker::Failure;
use crate::metrics::KindMetrics;

/// Waits between attempts: from about a second up to half a minute.
const MIN_RETRY_WAIT: Duration = Duration::from_secs(1);
const MAX_RETRY_WAIT: Duration = Duration::from_secs(30);

/// The retries of one event.
pub(crate) struct Retries {
    /// Failed attempts that count.
    pub(crate) attempts: u32,
    retry: Backoff,
    reconnect: Backoff,
}

/// A retry, and why it is necessary.
pub(crate) struct Retry {
    pub(crate) message: String,
    pub(crate) wait: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 0,
            retry: Backoff::new(MIN_RETRY_WAIT, MAX_RETRY_WAIT),
            reconnect: Backoff::reconnect(),
        }
    }
}

impl Retries {
    /// The retry after a failure; the reason for which there is none is an error.
    pub(crate) fn after(
        &mut self,
        failure: Failure,
        handling: &Handling,
        metrics: &KindMetrics,
    ) -> Result<Retry, String> {
        let (message, wait) = match failure {
            Failure::Unavailable { message, retry_after } => {
                (message, self.reconnect.next_wait().max(retry_after.unwrap_or_default()))
            }
            // The function has run, and the sinks cannot accept its result now.
            Failure::ResultNotTaken { message, retry_after } => {
                metrics.retried(Reason::ResultNotTaken);
                (message, self.retry.next_wait().max(retry_after.unwrap_or_default()))
            }
            Failure::Permanent(reason) => {
                self.attempts += 1;
                return Err(reason);
            }
            Failure::Transient { reason, message, retry_after } => {
                self.attempts += 1;
                if self.attempts >= handling.max_attempts {
                    return Err(message);
                }
                metrics.retried(reason);
                self.reconnect.reset();
                (message, self.retry.next_wait().max(retry_after.unwrap_or_default()))
            }
        };
        tracing::debug!(message, attempts = self.attempts, "an invocation failed; it is retried");
        Ok(Retry { message, wait })
    }
}
