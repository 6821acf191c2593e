//! The kinds of stores. A kind is one file here and one arm of the `match` in [`open`].

mod address;
mod couchdb;
mod http;
mod message;
mod nats;
mod network;
mod policy;
mod webhook;

use std::time::Duration;

use ::bytes::Bytes;
use mesh::bindings::BindingParams;
use mesh::egress::ConnectError;
use proto::registry::v1::{Binding, FunctionBinding};

pub(crate) use self::http::MAX_RETRY_AFTER;
use self::message::StoreMessage;
use self::network::Connector;
pub(crate) use self::network::Network;
pub(crate) use self::policy::Policy;

/// The `type` of every kind.
pub(crate) const KINDS: [&str; 3] = ["couchdb", "webhook", "nats"];

/// A binding's store and delivery policy.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) policy: Policy,
    pub(crate) sink: Box<dyn Sink>,
}

/// A store that receives results. Opening one contacts nothing; the first probe does.
#[tonic::async_trait]
pub(crate) trait Sink: std::fmt::Debug + Send + Sync {
    /// Scheme, host and port. Bindings with the same destination share a circuit breaker.
    fn destination(&self) -> String;

    /// The limits of its requests.
    fn batch(&self) -> Batch {
        Batch { rows: 1, bytes: usize::MAX, in_flight: 8 }
    }

    /// Checks whether the store is available to us.
    async fn probe(&self) -> Result<(), Away>;

    /// Delivers results and returns the outcome of each, in order. A repeat of a delivered result is
    /// delivered.
    async fn deliver(&self, deliveries: &[Delivery]) -> Result<Vec<Outcome>, Away>;
}

/// The limits of requests to a store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch {
    /// The maximum number of results in one request.
    pub(crate) rows: usize,
    /// The maximum size of the results in one request. A single result may be larger.
    pub(crate) bytes: usize,
    /// The maximum number of concurrent requests, unless the binding sets another.
    pub(crate) in_flight: usize,
}

/// A result to deliver.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    /// Identifies the result, so that the store recognises repeats.
    pub(crate) invocation_id: String,
    /// One JSON value.
    pub(crate) result: Bytes,
}

/// The outcome of delivering one result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Delivered,
    /// The store answered and did not accept this result.
    Refused(Refusal),
}

/// Why a store refused a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: StoreMessage,
    /// A retry would be refused, too.
    pub(crate) is_final: bool,
    pub(crate) retry_after: Option<Duration>,
}

/// The store is unavailable, or accepts nothing from us. It is not the result's fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Away {
    pub(crate) scope: FaultScope,
    pub(crate) reason: StoreMessage,
    /// A successful probe shows that this is over. Otherwise only a delivery does.
    pub(crate) shows_in_probe: bool,
    /// The egress policy denies the connection.
    pub(crate) is_denied: bool,
    pub(crate) retry_after: Option<Duration>,
}

/// Whom a fault concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultScope {
    /// All bindings with this destination: it cannot be connected to. Answers never have this scope: many
    /// services may share an address, and one does not speak for the others.
    Destination,
    /// This binding: its address or its user is wrong, or it should wait.
    Binding,
    /// Not known: the store does not answer, or its answer says nothing about the results. The store may be
    /// unavailable, or one of the results may be the cause. Until that is known, it concerns this binding.
    Unknown,
}

impl Outcome {
    fn refused(reason: &str) -> Self {
        Self::Refused(Refusal::new(reason))
    }
}

impl Refusal {
    pub(crate) fn new(reason: &str) -> Self {
        Self { reason: StoreMessage::new(reason), is_final: false, retry_after: None }
    }
}

impl Away {
    fn new(scope: FaultScope, reason: &str) -> Self {
        Self {
            scope,
            reason: StoreMessage::new(reason),
            shows_in_probe: true,
            is_denied: false,
            retry_after: None,
        }
    }

    /// The egress policy denies the connection, or it fails.
    fn not_connected(error: &ConnectError) -> Self {
        let (scope, is_denied) = match error {
            ConnectError::Denied(_) => (FaultScope::Binding, true),
            ConnectError::Io(_) => (FaultScope::Destination, false),
        };
        Self { is_denied, ..Self::new(scope, &error.to_string()) }
    }

    /// Prefixes the reason with `place`.
    fn at(self, place: impl std::fmt::Display) -> Self {
        Self { reason: StoreMessage::new(&format!("{place}: {}", self.reason)), ..self }
    }
}

/// Opens the store of a binding. An error says what was expected and shows no secrets.
pub(crate) fn open(binding: &FunctionBinding, network: &Network) -> Result<Opened, String> {
    let Some(Binding { r#type, params, .. }) = &binding.binding else {
        return Err("there is no binding in it".to_owned());
    };
    let (kind, open): (_, Open) = match r#type.as_str() {
        "couchdb" => ("couchdb", couchdb::open),
        "webhook" => ("webhook", webhook::open),
        "nats" => ("nats", nats::open),
        other => {
            let kinds = KINDS.join(", ");
            return Err(format!(
                "not_implemented: there are no sinks of type {other:?}; expected one of: {kinds}"
            ));
        }
    };
    let mut params = BindingParams::parse(r#type, params, &Policy::NAMES)?;
    let policy = Policy::read(r#type, &mut params)?;
    Ok(Opened { policy, sink: open(params, network.of(kind, binding), binding)? })
}

/// Opens a store of one kind.
type Open = fn(BindingParams<'_>, Connector, &FunctionBinding) -> Result<Box<dyn Sink>, String>;

/// Like [`open`], but a binding that is not valid any more gets a store that reports the problem.
pub(crate) fn open_any(binding: &FunctionBinding, network: &Network) -> Opened {
    open(binding, network)
        .unwrap_or_else(|problem| Opened { policy: Policy::default(), sink: Box::new(Unusable { problem }) })
}

/// The store of a binding that is not valid.
#[derive(Debug)]
struct Unusable {
    problem: String,
}

#[tonic::async_trait]
impl Sink for Unusable {
    fn destination(&self) -> String {
        "nowhere".to_owned()
    }

    async fn probe(&self) -> Result<(), Away> {
        Err(Away::new(FaultScope::Binding, &self.problem))
    }

    async fn deliver(&self, _: &[Delivery]) -> Result<Vec<Outcome>, Away> {
        self.probe().await.map(|()| Vec::new())
    }
}

/// Checks that the binding's kind exists and accepts its parameters. An error says what was expected.
pub(crate) fn check(binding: &Binding, network: &Network) -> Result<(), String> {
    let binding = FunctionBinding { binding: Some(binding.clone()), ..FunctionBinding::default() };
    open(&binding, network).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_is_wrong() {
        let network = network::tests::denying();
        let sink = |r#type: &str, params: &str| Binding {
            id: String::new(),
            r#type: r#type.into(),
            params: params.into(),
        };
        for (kind, params) in [
            ("couchdb", r#"{"url":"http://h:5984/db","ordered":true}"#),
            ("webhook", r#"{"url":"https://h/in","secret":"s","max_attempts":3}"#),
            ("nats", r#"{"url":"nats://h:4222","subject":"results.x"}"#),
        ] {
            assert_eq!(check(&sink(kind, params), &network), Ok(()), "{kind}");
        }
        for (kind, params, expected) in [
            ("mongodb", r#"{"ordered":1}"#, "expected one of: couchdb, webhook, nats"),
            ("couchdb", "[]", "couchdb: "),
            ("couchdb", r#"{"url":"http://h/db","max_attempts":0}"#, "couchdb: max_attempts: expected"),
            ("webhook", r#"{"url":"http://h/","ordered":1}"#, "webhook: "),
            (
                "nats",
                r#"{"url":"http://h/","subject":"s"}"#,
                "nats: url: unknown scheme \"http\"; expected nats://",
            ),
            ("webhook", r#"{"url":"http://h/","secret":"***"}"#, "write the secret itself"),
        ] {
            let error = check(&sink(kind, params), &network).expect_err(params);
            assert!(error.contains(expected), "expected {expected:?} in {error:?}");
        }
    }
}
