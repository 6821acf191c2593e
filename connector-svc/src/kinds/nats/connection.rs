//! A consumer of a JetStream stream, which reconnects for ever.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::message::Acker;
use async_nats::{ConnectOptions, Event as ClientEvent, ServerAddr, jetstream};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use mesh::backoff::Backoff;
use mesh::bindings::HeldBinding;
use mesh::egress::{ConnectError, Outbound};
use tokio::sync::mpsc;
use url::Url;

use super::params::{DEFAULT_PORT, Deliver, Params};

/// Waits between attempts to connect.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How long an attempt may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the server waits for an acknowledgement, or for a notice that the message is in progress.
pub(super) const ACK_WAIT: Duration = Duration::from_secs(30);
/// How often the server sends a heartbeat when there are no messages.
const HEARTBEAT: Duration = Duration::from_secs(5);

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
}

struct MessageStream {
    messages: pull::Stream,
    events: mpsc::Receiver<ClientEvent>,
}

impl<'a> Connection<'a> {
    /// Connects with the first [`Connection::next`]. At most `window` messages are unacknowledged at a time.
    pub(super) fn new(server: &'a Server, consumer: &'a str, window: u16, held: &'a HeldBinding) -> Self {
        let backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let state = State { server, consumer, window, held, backoff, wait: None, stream: None };
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
            let jetstream = self.server.connect(Some(sender)).await?;
            let stream = jetstream.get_stream(&self.server.params.stream).await.map_err(|error| {
                format!("cannot read the stream {:?}: {error}", self.server.params.stream)
            })?;
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
            Ok::<_, String>((progress, messages))
        };
        let attempt = tokio::time::timeout(ATTEMPT_TIMEOUT, attempt).await;
        let (progress, messages) = attempt.map_err(|_| "the server does not answer")??;
        self.backoff.reset();
        self.stream = Some(MessageStream { messages, events });
        Ok(progress)
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
                Some(event) = self.events.recv() => match event {
                    ClientEvent::Disconnected | ClientEvent::Closed => {
                        return Err("the connection to the server is lost".into());
                    }
                    event => tracing::debug!(%event, "NATS"),
                },
                message = self.messages.next() => {
                    let message = message.ok_or("the server ended the stream of messages")?;
                    let message = message.map_err(|error| format!("cannot read messages: {error}"))?;
                    return read(message).map_err(|error| format!("a message cannot be read: {error}"));
                }
            }
        }
    }
}

fn read(message: jetstream::Message) -> Result<(Message, Acker), async_nats::Error> {
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
    };
    Ok((message, acker))
}

impl Server {
    async fn connect(&self, sender: Option<mpsc::Sender<ClientEvent>>) -> Result<jetstream::Context, String> {
        let Params { url, username, password, token, .. } = &self.params;
        let url = Url::parse(url).map_err(|error| format!("url {url:?}: {error}"))?;
        let pinned = self.outbound.pin(&url, DEFAULT_PORT).await.map_err(|error| match error {
            ConnectError::Denied(denied) => denied.to_string(),
            ConnectError::Io(error) => format!("cannot reach the server: {error}"),
        })?;
        let servers = pinned.into_iter().map(ServerAddr::from_url).collect::<Result<Vec<_>, _>>();
        let servers = servers.map_err(|error| error.to_string())?;
        let tls = mesh::tls::web_for(url.host_str().unwrap_or_default());
        // The caller reconnects by itself: a client that has lost its connection ends soon.
        let mut options = ConnectOptions::new()
            .connection_timeout(ATTEMPT_TIMEOUT)
            .max_reconnects(servers.len())
            .retain_servers_order()
            // A server may name others, which nobody has checked.
            .ignore_discovered_servers()
            .require_tls(url.scheme() == "tls")
            .tls_client_config(tls.map_err(|error| format!("{error:#}"))?);
        if let (Some(username), Some(password)) = (username, password) {
            options = options.user_and_password(username.clone(), password.expose().to_owned());
        }
        if let Some(token) = token {
            options = options.token(token.expose().to_owned());
        }
        if let Some(sender) = sender {
            options = options.event_callback(move |event| {
                let sender = sender.clone();
                async move {
                    // A receiver that is gone has made another connection.
                    let _ = sender.send(event).await;
                }
            });
        }
        let client = options.connect(servers).await.map_err(|error| match error.kind() {
            async_nats::ConnectErrorKind::AuthorizationViolation
            | async_nats::ConnectErrorKind::Authentication => {
                "the server refuses the connection: not authorized".to_owned()
            }
            _ => format!("cannot reach the server: {error}"),
        })?;
        Ok(jetstream::new(client))
    }
}

/// Deletes the consumer, and with it its state on the server.
pub(super) async fn delete_consumer(server: &Server, consumer: &str) -> Result<(), String> {
    let jetstream = server.connect(None).await?;
    let deleted = jetstream.delete_consumer_from_stream(consumer, &server.params.stream).await;
    deleted.map(drop).map_err(|error| error.to_string())
}
