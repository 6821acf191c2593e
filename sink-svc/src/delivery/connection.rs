//! Whether a binding's store accepts results, for the binding's status.

use std::time::Duration;

use mesh::backoff::Backoff;
use tokio::time::Instant;

use crate::kinds::Away;

/// When the store of an idle binding cannot be reached, it is probed at growing intervals.
const FIRST_PROBE_AFTER: Duration = Duration::from_secs(1);
const MAX_PROBE_AFTER: Duration = Duration::from_secs(30);

/// What the last probe and the last delivery found.
#[derive(Debug)]
pub(super) struct Connection {
    /// Why the store cannot be reached. A successful probe clears it.
    unreachable: Option<String>,
    /// Why the store accepted nothing of the last delivery. Only a successful delivery clears it: that the
    /// store can be reached does not mean that it accepts results.
    refusal: Option<String>,
    is_probing: bool,
    probe_at: Instant,
    backoff: Backoff,
}

impl Connection {
    /// Nothing is known yet.
    pub(super) fn new() -> Self {
        Self {
            unreachable: None,
            refusal: None,
            is_probing: false,
            probe_at: Instant::now(),
            backoff: Backoff::new(FIRST_PROBE_AFTER, MAX_PROBE_AFTER),
        }
    }

    /// Why nothing is delivered; `None` when nothing is known to be wrong.
    pub(super) fn problem(&self) -> Option<&str> {
        self.unreachable.as_deref().or(self.refusal.as_deref())
    }

    /// Whether an idle binding should be probed now.
    pub(super) fn is_probe_due(&self) -> bool {
        self.unreachable.is_some() && !self.is_probing && self.probe_at <= Instant::now()
    }

    /// A probe begins.
    pub(super) fn begin_probe(&mut self) {
        self.is_probing = true;
    }

    /// A probe has ended.
    pub(super) fn probed(&mut self, outcome: Result<(), Away>) {
        self.is_probing = false;
        match outcome {
            Ok(()) => self.reached(),
            Err(away) => self.set_unreachable(away.reason.into()),
        }
    }

    /// A result was delivered.
    pub(super) fn delivered(&mut self) {
        self.reached();
        self.refusal = None;
    }

    /// The store accepted none of the results of a delivery.
    pub(super) fn refused(&mut self, reason: String) {
        self.reached();
        self.refusal = Some(reason);
    }

    /// The store was unavailable for a delivery.
    pub(super) fn away(&mut self, reason: String, shows_in_probe: bool) {
        match shows_in_probe {
            true => self.set_unreachable(reason),
            false => self.refused(reason),
        }
    }

    fn reached(&mut self) {
        self.unreachable = None;
        self.backoff.reset();
    }

    fn set_unreachable(&mut self, reason: String) {
        self.unreachable = Some(reason);
        self.probe_at = Instant::now() + self.backoff.next_wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_delivery_clears_a_refusal() {
        let mut connection = Connection::new();
        connection.refused("answered 302".into());
        connection.probed(Ok(()));
        assert_eq!(connection.problem(), Some("answered 302"));
        connection.away("connection refused".into(), true);
        assert_eq!(connection.problem(), Some("connection refused"));
        connection.probed(Ok(()));
        assert_eq!(connection.problem(), Some("answered 302"));
        connection.away("answered 401".into(), false);
        assert_eq!(connection.problem(), Some("answered 401"));
        connection.delivered();
        assert_eq!(connection.problem(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_cannot_be_reached_is_probed_again() {
        let mut connection = Connection::new();
        assert!(!connection.is_probe_due(), "nothing is wrong");
        connection.refused("answered 302".into());
        tokio::time::advance(MAX_PROBE_AFTER).await;
        assert!(!connection.is_probe_due(), "a probe would not help");
        connection.away("connection refused".into(), true);
        assert!(!connection.is_probe_due(), "not at once");
        tokio::time::advance(FIRST_PROBE_AFTER).await;
        assert!(connection.is_probe_due());
        connection.begin_probe();
        assert!(!connection.is_probe_due(), "one at a time");
        connection.probed(Ok(()));
        assert!(!connection.is_probe_due());
    }
}
