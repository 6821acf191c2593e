//! A connection to a broker that reconnects for ever.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use mesh::backoff::Backoff;
use mesh::bindings::HeldBinding;
use mesh::egress::Outbound;

use super::client::{Acknowledger, Client, ClientEvent, SessionKind};
use super::params::{Params, Version};

/// Waits between attempts to connect.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Why the connection was lost, or could not be established.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ConnectionLost(pub(super) String);

/// A connection that reconnects whenever it is lost.
pub(super) struct Connection<'a> {
    events: BoxStream<'a, Result<ClientEvent, ConnectionLost>>,
    acknowledger: Acknowledger,
}

struct State<'a> {
    client: Client<'a>,
    params: &'a Params,
    held: &'a HeldBinding,
    backoff: Backoff,
    /// How long to wait before the next attempt, if there is no connection.
    wait: Option<Duration>,
    /// There was a connection before: the broker supports this version.
    is_known: bool,
    /// The broker has granted the subscription.
    is_granted: bool,
    /// The next event.
    pending: Option<ClientEvent>,
}

impl<'a> Connection<'a> {
    /// Connects with the first [`Connection::next`].
    pub(super) fn new(
        params: &'a Params,
        outbound: &'a Outbound,
        client_id: &str,
        window: u16,
        held: &'a HeldBinding,
    ) -> Self {
        let client = Client::new(params, outbound, client_id, window, SessionKind::Persistent);
        let acknowledger = client.acknowledger();
        let state = State {
            client,
            params,
            held,
            backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
            wait: Some(Duration::ZERO),
            is_known: false,
            is_granted: false,
            pending: None,
        };
        // A stream makes the wait for the next event cancel-safe, which polls are not.
        let events = stream::unfold(state, |mut state| async move { Some((state.next().await, state)) });
        Self { events: events.boxed(), acknowledger }
    }

    /// The next event. After an error, the next call makes another attempt to connect.
    pub(super) async fn next(&mut self) -> Result<ClientEvent, ConnectionLost> {
        // It never ends.
        self.events.next().await.unwrap_or_else(|| Err(ConnectionLost("the connection has ended".into())))
    }

    /// Acknowledges a packet that arrived on this connection.
    pub(super) fn acknowledge(&self, packet_id: u16) {
        self.acknowledger.acknowledge(packet_id);
    }

    /// Disconnects after the pending acknowledgements.
    pub(super) async fn disconnect(&mut self) {
        self.acknowledger.disconnect();
        while !matches!(self.next().await, Ok(ClientEvent::Disconnected) | Err(_)) {}
    }
}

impl State<'_> {
    async fn next(&mut self) -> Result<ClientEvent, ConnectionLost> {
        if let Some(wait) = self.wait.take() {
            tokio::time::sleep(wait).await;
            self.held.leased().await;
        }
        if let Some(event) = self.pending.take() {
            return Ok(event);
        }
        loop {
            let event = match self.client.poll().await {
                Ok(None) => continue,
                Ok(Some(event)) => event,
                Err(problem) => return Err(self.lost(problem)),
            };
            match &event {
                ClientEvent::Connected { session_present } => {
                    self.is_known = true;
                    let is_there = *session_present && self.is_granted && !self.client.can_subscribe_again();
                    if is_there {
                        self.backoff.reset();
                        self.pending = Some(ClientEvent::Subscribed(Ok(self.params.qos)));
                    } else if let Err(problem) = self.client.subscribe(&self.params.topic, self.params.qos) {
                        self.client.close();
                        return Err(self.lost(problem));
                    }
                }
                ClientEvent::Subscribed(Ok(qos)) => {
                    if *qos < self.params.qos {
                        let topic = self.params.topic.as_str();
                        tracing::warn!(
                            topic,
                            qos,
                            "the broker grants a lower quality of service than requested; messages may be lost"
                        );
                    }
                    self.is_granted = true;
                    self.backoff.reset();
                }
                ClientEvent::Subscribed(Err(problem)) => {
                    let problem = problem.clone();
                    self.client.close();
                    return Err(self.lost(problem));
                }
                _ => {}
            }
            return Ok(event);
        }
    }

    fn lost(&mut self, mut problem: String) -> ConnectionLost {
        self.wait = Some(self.backoff.next_wait());
        let may_be_older = self.params.version == Version::V5 && !self.is_known;
        if may_be_older && (problem.contains("closed the connection") || problem.contains("does not answer"))
        {
            problem.push_str("; a broker without MQTT 5 needs \"version\":\"3.1.1\"");
        }
        ConnectionLost(problem)
    }
}

/// Ends the session at the broker.
pub(super) async fn end_session(params: &Params, outbound: &Outbound, client_id: &str) -> Result<(), String> {
    let mut client = Client::new(params, outbound, client_id, 1, SessionKind::Clean);
    let acknowledger = client.acknowledger();
    loop {
        match client.poll().await? {
            Some(ClientEvent::Connected { .. }) => acknowledger.disconnect(),
            Some(ClientEvent::Disconnected) => return Ok(()),
            _ => {}
        }
    }
}
