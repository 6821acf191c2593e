//! A connection to a broker that is made again for ever.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use mesh::backoff::Backoff;
use mesh::bindings::Tenure;

use super::params::{Params, Version};
use super::wire::{Acknowledger, Keep, Notice, Wire};

/// Waits between attempts to connect.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lost(pub(super) String);

/// A connection that is made again whenever it was lost.
pub(super) struct Connection<'a> {
    notices: BoxStream<'a, Result<Notice, Lost>>,
    acknowledger: Acknowledger,
}

struct State<'a> {
    wire: Wire,
    params: &'a Params,
    tenure: &'a Tenure,
    backoff: Backoff,
    /// How long to wait before the next attempt, when there is no connection.
    wait: Option<Duration>,
    /// There was a connection once: the broker speaks this version.
    is_known: bool,
    /// The broker has granted the subscription.
    is_granted: bool,
    /// To be told next.
    pending: Option<Notice>,
}

impl<'a> Connection<'a> {
    /// Connects with the first [`Connection::next`].
    pub(super) fn new(
        params: &'a Params,
        client_id: &str,
        window: u16,
        tenure: &'a Tenure,
    ) -> Result<Self, String> {
        let wire = Wire::new(params, client_id, window, Keep::Session)?;
        let acknowledger = wire.acknowledger();
        let state = State {
            wire,
            params,
            tenure,
            backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
            wait: Some(Duration::ZERO),
            is_known: false,
            is_granted: false,
            pending: None,
        };
        // A stream, since its item can be waited for again after the wait was dropped; a poll cannot.
        let notices = stream::unfold(state, |mut state| async move { Some((state.next().await, state)) });
        Ok(Self { notices: notices.boxed(), acknowledger })
    }

    /// What happens next; or that there is no connection any more, and then another attempt is made when
    /// this is called again.
    pub(super) async fn next(&mut self) -> Result<Notice, Lost> {
        // It never ends.
        self.notices.next().await.unwrap_or_else(|| Err(Lost("the connection has ended".into())))
    }

    /// Acknowledges a packet that came on this connection.
    pub(super) fn acknowledge(&self, packet_id: u16) {
        self.acknowledger.acknowledge(packet_id);
    }

    /// Says good-bye after what has been acknowledged.
    pub(super) async fn disconnect(&mut self) {
        self.acknowledger.disconnect();
        while !matches!(self.next().await, Ok(Notice::Disconnected) | Err(_)) {}
    }
}

impl State<'_> {
    async fn next(&mut self) -> Result<Notice, Lost> {
        if let Some(wait) = self.wait.take() {
            tokio::time::sleep(wait).await;
            self.tenure.leased().await;
        }
        if let Some(notice) = self.pending.take() {
            return Ok(notice);
        }
        loop {
            let notice = match self.wire.poll().await {
                Ok(None) => continue,
                Ok(Some(notice)) => notice,
                Err(words) => return Err(self.lost(words)),
            };
            match &notice {
                Notice::Connected { session_present } => {
                    self.is_known = true;
                    let is_there = *session_present && self.is_granted && !self.wire.can_subscribe_again();
                    if is_there {
                        self.backoff.reset();
                        self.pending = Some(Notice::Subscribed(Ok(self.params.qos)));
                    } else if let Err(words) = self.wire.subscribe(&self.params.topic, self.params.qos) {
                        self.wire.cut();
                        return Err(self.lost(words));
                    }
                }
                Notice::Subscribed(Ok(qos)) => {
                    if *qos < self.params.qos {
                        let topic = self.params.topic.as_str();
                        tracing::warn!(
                            topic,
                            qos,
                            "the broker grants less than was asked for; it may lose messages"
                        );
                    }
                    self.is_granted = true;
                    self.backoff.reset();
                }
                Notice::Subscribed(Err(words)) => {
                    let words = words.clone();
                    self.wire.cut();
                    return Err(self.lost(words));
                }
                _ => {}
            }
            return Ok(notice);
        }
    }

    fn lost(&mut self, mut words: String) -> Lost {
        self.wait = Some(self.backoff.next_wait());
        let may_be_older = self.params.version == Version::V5 && !self.is_known;
        if may_be_older && (words.contains("closed the connection") || words.contains("does not answer")) {
            words.push_str("; one that does not speak MQTT 5 needs \"version\":\"3.1.1\"");
        }
        Lost(words)
    }
}

/// Lets the broker forget the session.
pub(super) async fn end_session(params: &Params, client_id: &str) -> Result<(), String> {
    let mut wire = Wire::new(params, client_id, 1, Keep::Nothing)?;
    let acknowledger = wire.acknowledger();
    loop {
        match wire.poll().await? {
            Some(Notice::Connected { .. }) => acknowledger.disconnect(),
            Some(Notice::Disconnected) => return Ok(()),
            _ => {}
        }
    }
}
