//! A subject of NATS JetStream: each result becomes a message.
//!
//! The message has the invocation's id as its `Nats-Msg-Id`, so that the stream recognises repeats within its
//! duplicate window.

use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::context::{Context, GetStreamByNameErrorKind, PublishError, PublishErrorKind};
use async_nats::{ConnectError, ConnectErrorKind, ConnectOptions, HeaderMap, HeaderValue, jetstream};
use mesh::auth::Secret;
use mesh::bindings::{BindingParams, refuse_redacted};
use mesh::egress::{NatsConnection, NatsUser};
use mesh::telemetry;
use percent_encoding::percent_decode_str;
use proto::registry::v1::FunctionBinding;
use serde::Deserialize;
use tokio::sync::Mutex;
use tracing::Instrument as _;

use super::address::Address;
use super::network::Connector;
use super::{Away, Delivery, FaultScope, Outcome, Sink};
use crate::trace::publish_span;

const FORM: &str = "nats://host:4222 or tls://host:4222";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the stream may take to acknowledge a message.
const ACK_TIMEOUT: Duration = Duration::from_secs(10);
/// JetStream's error codes resemble HTTP's. From this one on, they mean that JetStream is unavailable.
const UNAVAILABLE_CODE: usize = 503;

/// The parameters of a NATS sink.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    /// The server: `nats://host:4222`.
    url: Address,
    /// The subject, which must belong to a stream.
    subject: String,
    token: Option<Secret>,
    username: Option<String>,
    password: Option<Secret>,
}

impl Params {
    fn check(&self) -> Result<(), String> {
        self.url.check(&["nats", "tls"], FORM)?;
        if !is_subject(&self.subject) {
            return Err("subject: expected words with dots between them, without wildcards".to_owned());
        }
        if self.username.is_some() != self.password.is_some() {
            return Err("username and password go together".to_owned());
        }
        let credentials = [self.username.is_some(), self.token.is_some(), self.url.has_user()];
        if credentials.into_iter().filter(|is_used| *is_used).count() > 1 {
            return Err("expected one of: token, username and password, a user in the url".to_owned());
        }
        refuse_redacted([
            ("token", self.token.as_ref().map(Secret::expose)),
            ("password", self.password.as_ref().map(Secret::expose)),
        ])
    }

    /// Who connects to the server. In a URL, a name without a password is a token.
    fn user(&self) -> NatsUser {
        let url = self.url.url();
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        match (&self.token, &self.username, &self.password) {
            (Some(token), ..) => NatsUser::Token(token.clone()),
            (None, Some(username), Some(password)) => {
                NatsUser::Named { username: username.clone(), password: password.clone() }
            }
            _ => match (url.username(), url.password()) {
                ("", None) => NatsUser::Anonymous,
                (token, None) => NatsUser::Token(Secret::new(decoded(token))),
                (username, Some(password)) => {
                    NatsUser::Named { username: decoded(username), password: Secret::new(decoded(password)) }
                }
            },
        }
    }
}

fn is_subject(subject: &str) -> bool {
    let is_token = |token: &str| {
        !token.is_empty()
            && !token.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '*' | '>'))
    };
    subject.split('.').all(is_token)
}

/// A subject that results are published to.
#[derive(Debug)]
struct Subject {
    params: Params,
    connector: Connector,
    /// The connection, if there is one. It is made on first use, and again when it is lost.
    connected: Mutex<Option<Connected>>,
}

/// A client, and its connection.
#[derive(Debug, Clone)]
struct Connected {
    context: Context,
    connection: Arc<NatsConnection>,
}

/// Opens the subject that the parameters name.
pub(super) fn open(
    params: BindingParams<'_>,
    connector: Connector,
    _: &FunctionBinding,
) -> Result<Box<dyn Sink>, String> {
    Ok(Box::new(Subject::new(params, connector)?))
}

impl Subject {
    fn new(params: BindingParams<'_>, connector: Connector) -> Result<Self, String> {
        let params: Params = params.own()?;
        params.check().map_err(|problem| format!("nats: {problem}"))?;
        Ok(Self { params, connector, connected: Mutex::default() })
    }

    /// The connection. An error if it is down.
    async fn connected(&self) -> Result<Connected, Away> {
        let mut connected = self.connected.lock().await;
        if let Some(known) = connected.as_ref() {
            let violation = known.connection.violation().map(|violation| violation.to_string());
            // Each binding has its own connection; the server may have closed only this one. The next one is made to
            // what the name resolves to by then.
            if violation.is_some() || known.context.client().connection_state() != State::Connected {
                *connected = None;
                let reason = violation.unwrap_or_else(|| "the connection is lost".to_owned());
                return Err(self.away(FaultScope::Binding, reason));
            }
            return Ok(known.clone());
        }
        Ok(connected.insert(self.connect().await?).clone())
    }

    async fn connect(&self) -> Result<Connected, Away> {
        let (outbound, url) = (self.connector.outbound(), self.params.url.url());
        let opened = NatsConnection::open(outbound, url, self.params.user(), None).await;
        let connection = opened.map_err(|error| Away::not_connected(&error).at(self.params.url.origin()))?;
        let options = ConnectOptions::with_token(connection.token().expose().to_owned())
            .name("funless-sink")
            .connection_timeout(CONNECT_TIMEOUT)
            .max_reconnects(1)
            .connect(connection.address());
        let client = options.await.map_err(|error| match connection.violation() {
            Some(violation) => self.away(FaultScope::Destination, violation),
            None => self.away(fault_scope(&error), connect_error(&error)),
        })?;
        let mut context = jetstream::new(client);
        context.set_timeout(ACK_TIMEOUT);
        Ok(Connected { context, connection: Arc::new(connection) })
    }

    fn away(&self, scope: FaultScope, reason: impl std::fmt::Display) -> Away {
        Away::new(scope, &reason.to_string()).at(self.params.url.origin())
    }

    fn no_stream(&self) -> Away {
        self.away(FaultScope::Binding, format!("no stream takes the subject {}", self.params.subject))
    }

    async fn publish(&self, delivery: &Delivery) -> Result<Outcome, Away> {
        let Ok(id) = delivery.invocation_id.parse::<HeaderValue>() else {
            return Ok(Outcome::refused("the invocation's id cannot stand in a header"));
        };
        let Connected { context, connection } = self.connected().await?;
        let span =
            publish_span("nats", &self.params.subject, &self.params.url.origin(), delivery.result.len());
        let mut headers = span.in_scope(trace_headers);
        headers.insert(NATS_MESSAGE_ID, id);
        let published = async {
            let subject = self.params.subject.clone();
            context.publish_with_headers(subject, headers, delivery.result.clone()).await?.await
        };
        let published = tokio::select! {
            published = published.instrument(span.clone()) => published,
            violation = connection.violated() => {
                telemetry::failed(&span, "not_taken");
                return Err(self.away(FaultScope::Binding, violation));
            }
        };
        if published.is_err() {
            telemetry::failed(&span, "not_taken");
        }
        published.map_or_else(|error| self.judge(&error), |_| Ok(Outcome::Delivered))
    }

    /// Distinguishes errors about the message from errors about the stream or the connection.
    fn judge(&self, error: &PublishError) -> Result<Outcome, Away> {
        match error.kind() {
            PublishErrorKind::StreamNotFound => Err(self.no_stream()),
            PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => {
                Err(self.away(FaultScope::Unknown, error.kind()))
            }
            PublishErrorKind::MaxAckPending => Err(self.away(FaultScope::Binding, error.kind())),
            PublishErrorKind::Other => match jetstream_error(error) {
                Some(error) if error.code() >= UNAVAILABLE_CODE => Err(self.away(FaultScope::Binding, error)),
                Some(error) => Ok(Outcome::refused(&error.to_string())),
                None => Err(self.away(FaultScope::Unknown, error.kind())),
            },
            kind @ (PublishErrorKind::MaxPayloadExceeded
            | PublishErrorKind::WrongLastMessageId
            | PublishErrorKind::WrongLastSequence) => Ok(Outcome::refused(&kind.to_string())),
        }
    }
}

/// The message headers with the current trace context.
fn trace_headers() -> HeaderMap {
    let mut context = http::HeaderMap::new();
    telemetry::inject_current(&mut context);
    let mut headers = HeaderMap::new();
    for (name, value) in &context {
        if let Some(value) = value.to_str().ok().and_then(|value| value.parse::<HeaderValue>().ok()) {
            headers.insert(name.as_str(), value);
        }
    }
    headers
}

/// A rejected user concerns this binding; a server that cannot be connected to concerns all bindings.
fn fault_scope(error: &ConnectError) -> FaultScope {
    match error.kind() {
        ConnectErrorKind::Dns | ConnectErrorKind::TimedOut | ConnectErrorKind::Tls | ConnectErrorKind::Io => {
            FaultScope::Destination
        }
        _ => FaultScope::Binding,
    }
}

/// Why the connection failed. The rest of the error is omitted, since it may contain the URL.
fn connect_error(error: &ConnectError) -> String {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    cause.map_or_else(|| error.kind().to_string(), ToString::to_string)
}

/// The error that JetStream itself returned.
fn jetstream_error(error: &PublishError) -> Option<&jetstream::Error> {
    std::error::Error::source(error)?.downcast_ref()
}

#[tonic::async_trait]
impl Sink for Subject {
    fn destination(&self) -> String {
        self.params.url.origin()
    }

    async fn probe(&self) -> Result<(), Away> {
        let Connected { context, connection } = self.connected().await?;
        tokio::select! {
            found = context.stream_by_subject(self.params.subject.as_str()) => match found {
                Err(error) if error.kind() == GetStreamByNameErrorKind::NotFound => Err(self.no_stream()),
                // A user who may publish need not be allowed to look up streams.
                Ok(_) | Err(_) => Ok(()),
            },
            violation = connection.violated() => Err(self.away(FaultScope::Binding, violation)),
        }
    }

    async fn deliver(&self, deliveries: &[Delivery]) -> Result<Vec<Outcome>, Away> {
        let mut outcomes = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            outcomes.push(self.publish(delivery).await?);
        }
        Ok(outcomes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Policy;
    use crate::kinds::network::tests::denying;

    fn open(params: &str) -> Result<Subject, String> {
        let connector = denying().of("nats", &FunctionBinding::default());
        let params = BindingParams::parse("nats", params, &Policy::NAMES);
        params.and_then(|params| Subject::new(params, connector))
    }

    #[test]
    fn errors_say_what_is_wrong() {
        assert!(open(r#"{"url":"nats://h:4222","subject":"a.b"}"#).is_ok());
        assert!(open(r#"{"url":"tls://h","subject":"a","username":"u","password":"p"}"#).is_ok());
        for (params, expected) in [
            (r#"{"url":"nats://h:4222"}"#, "missing field `subject`"),
            (
                r#"{"url":"amqp://h","subject":"a"}"#,
                "url: unknown scheme \"amqp\"; expected nats://host:4222",
            ),
            (r#"{"url":"nats://h","subject":"a.*"}"#, "without wildcards"),
            (r#"{"url":"nats://h","subject":"a..b"}"#, "without wildcards"),
            (r#"{"url":"nats://h","subject":"a b"}"#, "without wildcards"),
            (r#"{"url":"nats://h","subject":"a","password":"p"}"#, "go together"),
            (r#"{"url":"nats://u:p@h","subject":"a","token":"t"}"#, "expected one of: token"),
            (r#"{"url":"nats://h","subject":"a","token":"***"}"#, "write the secret itself"),
            (r#"{"url":"nats://h","subject":"a","token":1}"#, "put quotes around it"),
        ] {
            let error = open(params).expect_err(params);
            assert!(
                error.starts_with("nats: ") && error.contains(expected),
                "expected {expected:?} in {error:?}"
            );
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let subject = open(r#"{"url":"nats://u:hunter2@h","subject":"a"}"#).expect("valid");
        assert!(!format!("{subject:?}").contains("hunter2"));
        assert_eq!(subject.destination(), "nats://h");
    }
}
