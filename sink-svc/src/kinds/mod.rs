//! The kinds of stores. A kind is one file here and one arm of the `match` in [`open`].

mod address;
mod couchdb;
mod http;
mod nats;
mod policy;
mod webhook;
mod words;

use std::time::Duration;

use ::bytes::Bytes;
use mesh::bindings::BindingParams;
use proto::registry::v1::{Binding, FunctionBinding};

pub(crate) use self::http::Http;
pub(crate) use self::policy::Policy;
use self::words::Words;

/// The `type` of every kind.
pub(crate) const KINDS: [&str; 3] = ["couchdb", "webhook", "nats"];

/// A binding's store, as its parameters say.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) policy: Policy,
    pub(crate) sink: Box<dyn Sink>,
}

/// A store that takes results. One that has not answered yet is none that fails: nothing is contacted
/// before the first probe.
#[tonic::async_trait]
pub(crate) trait Sink: std::fmt::Debug + Send + Sync {
    /// Where it is: scheme, host and port. Who is away there is away for all bindings that lead there.
    fn destination(&self) -> String;

    /// How many results it takes at once.
    fn batch(&self) -> Batch {
        Batch { rows: 1, bytes: usize::MAX, in_flight: 8 }
    }

    /// Whether it is there and takes us.
    async fn probe(&self) -> Result<(), Away>;

    /// Delivers results, and tells of each, in order, what became of it. One that has been delivered
    /// before is delivered.
    async fn deliver(&self, deliveries: &[Delivery]) -> Result<Vec<Outcome>, Away>;
}

/// What a store takes with one request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch {
    /// At most so many results.
    pub(crate) rows: usize,
    /// And so many bytes of them; one result may be larger.
    pub(crate) bytes: usize,
    /// Requests that run at once, unless the binding says otherwise.
    pub(crate) in_flight: usize,
}

/// A result on its way.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    /// Names the result at the store, so that it recognises a repeat.
    pub(crate) invocation_id: String,
    /// One JSON value.
    pub(crate) result: Bytes,
}

/// What became of one result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Delivered,
    /// The store answered, and does not take this one.
    Refused(Refusal),
}

/// Why a store does not take a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: Words,
    /// It will be the same the next time.
    pub(crate) is_final: bool,
    pub(crate) retry_after: Option<Duration>,
}

/// The store is away, or takes nothing from us. It is not the result's fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Away {
    pub(crate) scope: FaultScope,
    pub(crate) reason: Words,
    /// A probe that succeeds shows that this is over. Else only a delivery does.
    pub(crate) shows_in_probe: bool,
    pub(crate) retry_after: Option<Duration>,
}

/// FaultScope trouble it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultScope {
    /// That of all who deliver to this destination: nobody can connect to it. What is answered there
    /// is never that: behind one address there may be many, and one of them speaks for no other.
    Destination,
    /// This binding's: its address or its user is wrong, or it should wait.
    Binding,
    /// Nobody knows: the store does not answer, or says nothing of the results. It may be away, or one of
    /// them is the cause. Until that is found out it is this binding's.
    Unknown,
}

impl Outcome {
    fn refused(reason: &str) -> Self {
        Self::Refused(Refusal::new(reason))
    }
}

impl Refusal {
    pub(crate) fn new(reason: &str) -> Self {
        Self { reason: Words::new(reason), is_final: false, retry_after: None }
    }
}

impl Away {
    fn new(scope: FaultScope, reason: &str) -> Self {
        Self { scope, reason: Words::new(reason), shows_in_probe: true, retry_after: None }
    }

    /// Says where.
    fn at(self, place: impl std::fmt::Display) -> Self {
        Self { reason: Words::new(&format!("{place}: {}", self.reason)), ..self }
    }
}

/// The store of a binding. An error says what was expected, and shows no secret.
pub(crate) fn open(binding: &FunctionBinding, http: &Http) -> Result<Opened, String> {
    let Some(Binding { r#type, params, .. }) = &binding.binding else {
        return Err("there is no binding in it".to_owned());
    };
    let open: Open = match r#type.as_str() {
        "couchdb" => couchdb::open,
        "webhook" => webhook::open,
        "nats" => nats::open,
        other => {
            let kinds = KINDS.join(", ");
            return Err(format!(
                "not_implemented: there are no sinks of type {other:?}; expected one of: {kinds}"
            ));
        }
    };
    let mut params = BindingParams::parse(r#type, params, &Policy::NAMES)?;
    Ok(Opened { policy: Policy::read(r#type, &mut params)?, sink: open(params, http, binding)? })
}

/// Opens a store of one kind.
type Open = fn(BindingParams<'_>, &Http, &FunctionBinding) -> Result<Box<dyn Sink>, String>;

/// The store of a binding that may be older than what its kind takes now: then one that says so.
pub(crate) fn open_any(binding: &FunctionBinding, http: &Http) -> Opened {
    open(binding, http)
        .unwrap_or_else(|problem| Opened { policy: Policy::default(), sink: Box::new(Unusable { problem }) })
}

/// A store that cannot be reached as it is described.
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

/// Whether the binding's kind exists and takes its parameters. An error says what was expected.
pub(crate) fn check(binding: &Binding, http: &Http) -> Result<(), String> {
    let binding = FunctionBinding { binding: Some(binding.clone()), ..FunctionBinding::default() };
    open(&binding, http).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_binding_is_named() {
        let http = Http::new().expect("a client");
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
            assert_eq!(check(&sink(kind, params), &http), Ok(()), "{kind}");
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
            let error = check(&sink(kind, params), &http).expect_err(params);
            assert!(error.contains(expected), "{error:?} says {expected:?}");
        }
    }
}
