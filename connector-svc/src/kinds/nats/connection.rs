//! A consumer of a JetStream stream, which reconnects for ever.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::message::Acker;
use async_nats::{ConnectOptions, Event as ClientEvent, jetstream};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use mesh::backoff::Backoff;
use mesh::bindings::HeldBinding;
use mesh::egress::{ConnectError, HeldPayload, NatsConnection, Outbound, Payloads};
use tokio::sync::mpsc;
use url::Url;

use super::params::{Deliver, Params};

/// Waits between attempts to connect.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How long an attempt may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the server waits for an acknowledgement, or for a notice that the message is in progress.
pub(super) const ACK_WAIT: Duration = Duration::from_secs(30);
/// How often the server sends a heartbeat when there are no messages.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Messages without a payload that may wait to be read.
const HEARTBEATS: usize = 64;

/// What happens on a connection.
pub(super) enum ConnectionEvent {
    Connected(Progress),
    /// A message, and how it is acknowledged.
    Message(Box<(Message, Acker)>),
}

/// The positions of the stream and of the consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    /// When the stream was created, Unix time in nanoseconds. It tells a stream from a later one with its name.
    pub(super) stream_created: i128,
    /// The first message in the stream.
    pub(super) first: u64,
    /// All messages up to this one are acknowledged.
    pub(super) acknowledged: u64,
}

/// A message, perhaps a redelivered one.
pub(super) struct Message {
    pub(super) subject: String,
    pub(super) stream: String,
    pub(super) sequence: u64,
    pub(super) payload: Bytes,
    pub(super) headers: Vec<(String, String)>,
    /// Counts the payload until it is dropped.
    pub(super) held: Option<HeldPayload>,
}

/// Why the connection was lost, or could not be established.
pub(super) struct ConnectionLost(pub(super) String);

/// A connection that reconnects whenever it is lost.
pub(super) struct Connection<'a> {
    events: BoxStream<'a, Result<ConnectionEvent, ConnectionLost>>,
}

/// A server, and how it may be connected to.
pub(super) struct Server {
    pub(super) params: Params,
    pub(super) outbound: Outbound,
}

struct State<'a> {
    server: &'a Server,
    consumer: &'a str,
    window: u16,
    held: &'a HeldBinding,
    backoff: Backoff,
    wait: Option<Duration>,
    stream: Option<MessageStream>,
    payloads: Payloads,
}

struct MessageStream {
    messages: pull::Stream,
    events: mpsc::Receiver<ClientEvent>,
    connection: NatsConnection,
}

/// A client, and its connection.
struct Connected {
    jetstream: jetstream::Context,
    connection: NatsConnection,
}

impl<'a> Connection<'a> {
    /// Connects with the first [`Connection::next`]. At most `window` messages are unacknowledged at a time.
    pub(super) fn new(server: &'a Server, consumer: &'a str, window: u16, held: &'a HeldBinding) -> Self {
        let backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let state = State {
            server,
            consumer,
            window,
            held,
            backoff,
            wait: None,
            stream: None,
            payloads: Payloads::default(),
        };
        let events = stream::unfold(state, |mut state| async move { Some((state.next().await, state)) });
        Self { events: events.boxed() }
    }

    /// The next event. After an error, the next call makes another attempt to connect.
    pub(super) async fn next(&mut self) -> Result<ConnectionEvent, ConnectionLost> {
        // It never ends.
        self.events.next().await.unwrap_or_else(|| Err(ConnectionLost("the connection has ended".into())))
    }
}

impl State<'_> {
    async fn next(&mut self) -> Result<ConnectionEvent, ConnectionLost> {
        let outcome = match &mut self.stream {
            Some(stream) => stream.next().await.map(|message| ConnectionEvent::Message(Box::new(message))),
            None => {
                tokio::time::sleep(self.wait.take().unwrap_or_default()).await;
                self.held.leased().await;
                self.connect().await.map(ConnectionEvent::Connected)
            }
        };
        outcome.map_err(|problem| {
            self.stream = None;
            self.wait = Some(self.backoff.next_wait());
            ConnectionLost(problem)
        })
    }

    async fn connect(&mut self) -> Result<Progress, String> {
        let (sender, events) = mpsc::channel(8);
        let attempt = async {
            let Connected { jetstream, connection } =
                self.server.connect(sender, self.subscription_capacity(), self.payloads.clone()).await?;
            let subscribed = tokio::select! {
                violation = connection.violated() => Err(violation.to_string()),
                subscribed = self.subscribe(&jetstream) => subscribed,
            };
            let (progress, messages) = subscribed?;
            Ok::<_, String>((progress, MessageStream { messages, events, connection }))
        };
        let attempt = tokio::time::timeout(ATTEMPT_TIMEOUT, attempt).await;
        let (progress, stream) = attempt.map_err(|_| "the server does not answer")??;
        self.backoff.reset();
        self.stream = Some(stream);
        Ok(progress)
    }

    async fn subscribe(&self, jetstream: &jetstream::Context) -> Result<(Progress, pull::Stream), String> {
        let stream = jetstream
            .get_stream(&self.server.params.stream)
            .await
            .map_err(|error| format!("cannot read the stream {:?}: {error}", self.server.params.stream))?;
        let consumer: PullConsumer = stream
            .create_consumer(self.config())
            .await
            .map_err(|error| format!("cannot create the consumer: {error}"))?;
        let info = stream.cached_info();
        let progress = Progress {
            stream_created: info.created.unix_timestamp_nanos(),
            first: info.state.first_sequence,
            acknowledged: consumer.cached_info().ack_floor.stream_sequence,
        };
        let messages = consumer
            .stream()
            .max_messages_per_batch(usize::from(self.window))
            .heartbeat(HEARTBEAT)
            .messages()
            .await
            .map_err(|error| format!("cannot read messages: {error}"))?;
        Ok((progress, messages))
    }

    /// Messages that the client holds: those that the server may send, and a few heartbeats.
    fn subscription_capacity(&self) -> usize {
        usize::from(self.window) + HEARTBEATS
    }

    fn config(&self) -> pull::Config {
        pull::Config {
            durable_name: Some(self.consumer.to_owned()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_ack_pending: self.window.into(),
            filter_subject: self.server.params.subject.clone(),
            deliver_policy: match self.server.params.deliver {
                Deliver::All => DeliverPolicy::All,
                Deliver::New => DeliverPolicy::New,
            },
            ..pull::Config::default()
        }
    }
}

impl MessageStream {
    async fn next(&mut self) -> Result<(Message, Acker), String> {
        loop {
            tokio::select! {
                violation = self.connection.violated() => return Err(violation.to_string()),
                Some(event) = self.events.recv() => match event {
                    ClientEvent::Disconnected | ClientEvent::Closed => {
                        let violation = self.connection.violation().map(|violation| violation.to_string());
                        return Err(violation.unwrap_or_else(|| "the connection to the server is lost".into()));
                    }
                    event => tracing::debug!(%event, "NATS"),
                },
                message = self.messages.next() => {
                    let message = message.ok_or("the server ended the stream of messages")?;
                    let message = message.map_err(|error| format!("cannot read messages: {error}"))?;
                    let held = self.connection.claim(message.length);
                    return read(message, held).map_err(|error| format!("a message cannot be read: {error}"));
                }
            }
        }
    }
}

fn read(
    message: jetstream::Message,
    held: Option<HeldPayload>,
) -> Result<(Message, Acker), async_nats::Error> {
    let info = message.info()?;
    let (stream, sequence) = (info.stream.to_owned(), info.stream_sequence);
    let (message, acker) = message.split();
    let headers = message.headers.iter().flat_map(async_nats::HeaderMap::iter);
    let headers = headers
        .flat_map(|(name, values)| values.iter().map(|value| (name.to_string(), value.as_str().to_owned())));
    let message = Message {
        subject: message.subject.to_string(),
        stream,
        sequence,
        headers: headers.collect(),
        payload: message.payload,
        held,
    };
    Ok((message, acker))
}

impl Server {
    /// The client sends its events to `sender`, and holds at most `capacity` messages of a subscription.
    async fn connect(
        &self,
        sender: mpsc::Sender<ClientEvent>,
        capacity: usize,
        payloads: Payloads,
    ) -> Result<Connected, String> {
        let url = &self.params.url;
        let url = Url::parse(url).map_err(|error| format!("url {url:?}: {error}"))?;
        let opened = NatsConnection::open(&self.outbound, &url, self.params.user(), Some(payloads)).await;
        let connection = opened.map_err(|error| match error {
            ConnectError::Denied(denied) => denied.to_string(),
            ConnectError::Io(error) => format!("cannot connect to the server: {error}"),
        })?;
        // The caller reconnects by itself: a client that has lost its connection ends soon.
        let options = ConnectOptions::with_token(connection.token().expose().to_owned())
            .connection_timeout(ATTEMPT_TIMEOUT)
            .max_reconnects(1)
            .subscription_capacity(capacity)
            .event_callback(move |event| {
                let sender = sender.clone();
                async move {
                    // A receiver that is gone has made another connection.
                    let _ = sender.send(event).await;
                }
            });
        let client = options.connect(connection.address()).await.map_err(|error| match error.kind() {
            async_nats::ConnectErrorKind::AuthorizationViolation
            | async_nats::ConnectErrorKind::Authentication => {
                "the server refuses the connection: not authorized".to_owned()
            }
            _ => match connection.violation() {
                Some(violation) => format!("cannot connect to the server: {violation}"),
                None => format!("cannot connect to the server: {error}"),
            },
        })?;
        Ok(Connected { jetstream: jetstream::new(client), connection })
    }
}

/// Deletes the consumer, and with it its state on the server.
pub(super) async fn delete_consumer(server: &Server, consumer: &str) -> Result<(), String> {
    let (sender, _) = mpsc::channel(1);
    let connected = server.connect(sender, HEARTBEATS, Payloads::default()).await?;
    let jetstream = &connected.jetstream;
    let deleted = jetstream.delete_consumer_from_stream(consumer, &server.params.stream).await;
    deleted.map(drop).map_err(|error| error.to_string())
}
