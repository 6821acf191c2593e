//! A consumer of a stream that is connected to again for ever.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::message::Acker;
use async_nats::{ConnectOptions, Event as ClientEvent, jetstream};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use mesh::backoff::Backoff;
use mesh::bindings::Tenure;
use tokio::sync::mpsc;

use super::params::{Deliver, Params};

/// Waits between attempts to connect.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How long an attempt may take.
const ATTEMPT: Duration = Duration::from_secs(5);
/// How long the server waits for an acknowledgement, or for a word that the message is worked on.
pub(super) const ACK_WAIT: Duration = Duration::from_secs(30);
/// How often the server says that it is there when there are no messages.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// What happens on a connection.
pub(super) enum Notice {
    Connected(Progress),
    /// A message, and how it is acknowledged.
    Message(Box<(Message, Acker)>),
}

/// Where stream and consumer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    /// When the stream was made, Unix time in nanoseconds: another one of its name is another stream.
    pub(super) stream_made: i128,
    /// The first message that the stream has.
    pub(super) first: u64,
    /// All messages up to this one are acknowledged.
    pub(super) acknowledged: u64,
}

/// A message, which may have come before.
pub(super) struct Message {
    pub(super) subject: String,
    pub(super) stream: String,
    pub(super) sequence: u64,
    pub(super) payload: Bytes,
    pub(super) headers: Vec<(String, String)>,
}

/// Why there is no connection.
pub(super) struct Lost(pub(super) String);

/// A connection that is made again whenever it was lost.
pub(super) struct Connection<'a> {
    notices: BoxStream<'a, Result<Notice, Lost>>,
}

struct State<'a> {
    params: &'a Params,
    consumer: &'a str,
    window: u16,
    tenure: &'a Tenure,
    backoff: Backoff,
    wait: Option<Duration>,
    line: Option<Line>,
}

struct Line {
    messages: pull::Stream,
    events: mpsc::Receiver<ClientEvent>,
}

impl<'a> Connection<'a> {
    /// Connects with the first [`Connection::next`]. At most `window` messages are not acknowledged.
    pub(super) fn new(params: &'a Params, consumer: &'a str, window: u16, tenure: &'a Tenure) -> Self {
        let backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let state = State { params, consumer, window, tenure, backoff, wait: None, line: None };
        let notices = stream::unfold(state, |mut state| async move { Some((state.next().await, state)) });
        Self { notices: notices.boxed() }
    }

    /// What happens next; or that there is no connection any more, and then another attempt is made when
    /// this is called again.
    pub(super) async fn next(&mut self) -> Result<Notice, Lost> {
        // It never ends.
        self.notices.next().await.unwrap_or_else(|| Err(Lost("the connection has ended".into())))
    }
}

impl State<'_> {
    async fn next(&mut self) -> Result<Notice, Lost> {
        let outcome = match &mut self.line {
            Some(line) => line.next().await.map(|message| Notice::Message(Box::new(message))),
            None => {
                tokio::time::sleep(self.wait.take().unwrap_or_default()).await;
                self.tenure.leased().await;
                self.connect().await.map(Notice::Connected)
            }
        };
        outcome.map_err(|problem| {
            self.line = None;
            self.wait = Some(self.backoff.next_wait());
            Lost(problem)
        })
    }

    async fn connect(&mut self) -> Result<Progress, String> {
        let (told, events) = mpsc::channel(8);
        let attempt = async {
            let jetstream = connect(self.params, Some(told)).await?;
            let stream = jetstream.get_stream(&self.params.stream).await.map_err(|error| {
                format!("there is no stream {:?} to listen to: {error}", self.params.stream)
            })?;
            let consumer: PullConsumer = stream
                .create_consumer(self.config())
                .await
                .map_err(|error| format!("no consumer: {error}"))?;
            let made = stream.cached_info();
            let progress = Progress {
                stream_made: made.created.unix_timestamp_nanos(),
                first: made.state.first_sequence,
                acknowledged: consumer.cached_info().ack_floor.stream_sequence,
            };
            let messages = consumer
                .stream()
                .max_messages_per_batch(usize::from(self.window))
                .heartbeat(HEARTBEAT)
                .messages()
                .await
                .map_err(|error| format!("no messages: {error}"))?;
            Ok::<_, String>((progress, messages))
        };
        let attempt = tokio::time::timeout(ATTEMPT, attempt).await;
        let (progress, messages) = attempt.map_err(|_| "the server does not answer")??;
        self.backoff.reset();
        self.line = Some(Line { messages, events });
        Ok(progress)
    }

    fn config(&self) -> pull::Config {
        pull::Config {
            durable_name: Some(self.consumer.to_owned()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_ack_pending: self.window.into(),
            filter_subject: self.params.subject.clone(),
            deliver_policy: match self.params.deliver {
                Deliver::All => DeliverPolicy::All,
                Deliver::New => DeliverPolicy::New,
            },
            ..pull::Config::default()
        }
    }
}

impl Line {
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
                    let message = message.ok_or("the server ended the messages")?;
                    let message = message.map_err(|error| format!("no messages: {error}"))?;
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

async fn connect(
    params: &Params,
    told: Option<mpsc::Sender<ClientEvent>>,
) -> Result<jetstream::Context, String> {
    // Who uses it connects again by itself: a client that has lost its connection ends soon.
    let mut options = ConnectOptions::new().connection_timeout(ATTEMPT).max_reconnects(1);
    if let (Some(username), Some(password)) = (&params.username, &params.password) {
        options = options.user_and_password(username.clone(), password.expose().to_owned());
    }
    if let Some(token) = &params.token {
        options = options.token(token.expose().to_owned());
    }
    if params.url.starts_with("tls://") {
        options = options.require_tls(true).tls_client_config(mesh::tls::web());
    }
    if let Some(told) = told {
        options = options.event_callback(move |event| {
            let told = told.clone();
            async move {
                // Who does not listen any more has made another connection.
                let _ = told.send(event).await;
            }
        });
    }
    let client = options.connect(&params.url).await.map_err(|error| match error.kind() {
        async_nats::ConnectErrorKind::AuthorizationViolation
        | async_nats::ConnectErrorKind::Authentication => {
            "the server refuses the connection: not authorized".to_owned()
        }
        _ => format!("cannot reach the server: {error}"),
    })?;
    Ok(jetstream::new(client))
}

/// Deletes the consumer, and with it what the server keeps for it.
pub(super) async fn delete_consumer(params: &Params, consumer: &str) -> Result<(), String> {
    let jetstream = connect(params, None).await?;
    let deleted = jetstream.delete_consumer_from_stream(consumer, &params.stream).await;
    deleted.map(drop).map_err(|error| error.to_string())
}
