//! Channels: how one service calls another.
//!
//! A [`Channel`] is one type with two kinds behind it: a remote HTTP/2 connection (TCP with or without TLS, a
//! Unix socket, or a tunnel), and a local one that calls the other service's router directly, with no socket
//! and no HTTP/2 framing. Clients cannot tell them apart. A [`Dialer`] makes channels from [`Endpoint`]s, so
//! that only configuration decides what a service connects to.

mod body;
mod connect;
mod frames;
mod stream;
mod unary;

use std::collections::HashMap;
use std::error::Error as StdError;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::body::Body;
use tonic::{ConnectError, Status, TimeoutExpired, transport};
use tower::{Service, ServiceExt as _};
use tracing::{Instrument as _, Span};

use self::body::ResponseBody;
use self::connect::{BoxError, Tcp};
use self::stream::{ClientStream, PING_AFTER, SentRequests};
use crate::auth::Secret;
use crate::contact::RegistryContact;
use crate::deadline::{GRPC_TIMEOUT, parse_grpc_timeout};
use crate::endpoint::Endpoint;
use crate::error::{Error, Reason};
use crate::http2::{CONNECTION_WINDOW, STREAM_WINDOW};
use crate::server::{self, LocalMethods};
use crate::telemetry::{self, RpcSpan};
use crate::tls::ClientTls;

/// Makes channels. Clones share the services of this process.
#[derive(Debug, Clone, Default)]
pub struct Dialer {
    locals: Arc<Mutex<HashMap<String, LocalSlot>>>,
    secret: Option<Secret>,
    tls: Option<ClientTls>,
}

/// Filled when the service has been built: services of one process may refer to each other in a cycle.
type LocalSlot = Arc<OnceLock<Provided>>;

/// A service of this process.
#[derive(Debug)]
struct Provided {
    router: axum::Router,
    methods: Option<LocalMethods>,
}

impl Dialer {
    /// A dialer whose channels send `secret` and use `tls`.
    pub fn new(secret: Option<Secret>, tls: Option<ClientTls>) -> Self {
        Self { locals: Arc::default(), secret, tls }
    }

    /// A channel to `endpoint`. It connects on the first call and reconnects whenever the connection is lost.
    /// An error means that the endpoint can never be used.
    pub fn dial(&self, endpoint: &Endpoint) -> Result<Channel, Error> {
        let kind = match endpoint {
            Endpoint::Local(name) => Kind::Local(self.local(name)),
            Endpoint::Tcp(uri) => Kind::Remote(self.dial_tcp(uri)?),
            Endpoint::Unix(path) => Kind::Remote(dial_unix(Arc::from(path.as_path()))),
            Endpoint::Tunnel(_) => {
                return Err(Error::unavailable(format!("{endpoint} is opened from its other end")));
            }
        };
        Ok(Channel { endpoint: Arc::new(endpoint.clone()), kind, secret: self.secret.clone(), contact: None })
    }

    /// A channel over `connection`, whose other end serves; `name` identifies it in messages. It cannot
    /// reconnect: once the connection has ended, calls fail as not started.
    pub async fn dial_tunnel<C>(&self, name: &str, connection: C) -> Result<Channel, Error>
    where
        C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let sent = SentRequests::default();
        let mut connection = Some(TokioIo::new(ClientStream::new(connection, sent.clone())));
        let connect = tower::service_fn(move |_: http::Uri| {
            let closed = || io::Error::new(io::ErrorKind::NotConnected, "it is closed");
            std::future::ready(connection.take().ok_or_else(closed))
        });
        let endpoint = Endpoint::Tunnel(name.to_owned());
        // The address is never used, but HTTP/2 requires an authority. Connecting only sends the first bytes.
        let transport = for_stream(transport::Endpoint::from_static("http://tunnel"))
            .connect_with_connector(connect)
            .await
            .map_err(|error| failure(&endpoint, &error, false))?;
        let (endpoint, kind) = (Arc::new(endpoint), Kind::Remote(Remote { transport, sent }));
        Ok(Channel { endpoint, kind, secret: self.secret.clone(), contact: None })
    }

    /// Serves `router` at `local:name`. The first router of a name wins.
    pub fn provide(&self, name: &str, router: axum::Router) {
        self.local(name).get_or_init(|| Provided { router, methods: None });
    }

    /// Like [`Dialer::provide`], with the methods that can be called directly.
    pub fn provide_service(&self, name: &str, service: &server::Service) {
        let provided = || Provided { router: service.router.clone(), methods: service.methods.clone() };
        self.local(name).get_or_init(provided);
    }

    fn local(&self, name: &str) -> LocalSlot {
        Arc::clone(self.locals.lock().entry(name.to_owned()).or_default())
    }

    fn dial_tcp(&self, uri: &http::Uri) -> Result<Remote, Error> {
        let tcp = Tcp::new();
        if uri.scheme_str() != Some("https") {
            let endpoint = transport::Endpoint::from(uri.clone());
            return Ok(Remote::over(endpoint, move |to| tcp.clone().connect(to)));
        }
        let no_tls = |error: String| Error::unavailable(format!("no TLS to {uri}: {error}"));
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host).map_err(|error| no_tls(error.to_string()))?;
        let tls =
            self.tls.clone().unwrap_or_default().connector().map_err(|error| no_tls(format!("{error:#}")))?;
        // tonic is given a connection that has TLS already.
        let plain = format!("http://{}:{}", uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(443));
        let plain = transport::Endpoint::from_shared(plain).map_err(|error| no_tls(error.to_string()))?;
        let connect = move |to| tcp.clone().connect_tls(to, tls.clone(), name.clone());
        Ok(Remote::over(plain.origin(uri.clone()), connect))
    }
}

/// Settings for a connection over a [`ClientStream`].
fn for_stream(endpoint: transport::Endpoint) -> transport::Endpoint {
    endpoint
        .http2_keep_alive_interval(PING_AFTER)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
}

fn dial_unix(path: Arc<Path>) -> Remote {
    // The address is never used, but HTTP/2 requires an authority.
    let endpoint = transport::Endpoint::from_static("http://unix.socket");
    Remote::over(endpoint, move |_| connect::unix(Arc::clone(&path)))
}

/// A channel to another service, for the generated clients. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Channel {
    endpoint: Arc<Endpoint>,
    kind: Kind,
    secret: Option<Secret>,
    /// Set if it leads to the registry and calls fail at once while the registry cannot be reached.
    contact: Option<RegistryContact>,
}

#[derive(Debug, Clone)]
enum Kind {
    Remote(Remote),
    Local(LocalSlot),
}

/// A channel to another process.
#[derive(Debug, Clone)]
struct Remote {
    transport: transport::Channel,
    sent: SentRequests,
}

impl Remote {
    /// A channel over connections that `connect` makes when they are needed.
    fn over<F, S>(endpoint: transport::Endpoint, connect: impl Fn(http::Uri) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<S, BoxError>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let sent = SentRequests::default();
        let counted = sent.clone();
        let connect = tower::service_fn(move |to| {
            let (connecting, sent) = (connect(to), counted.clone());
            async move { connecting.await.map(|stream| TokioIo::new(ClientStream::new(stream, sent))) }
        });
        Self { transport: for_stream(endpoint).connect_with_connector_lazy(connect), sent }
    }
}

impl Channel {
    /// The endpoint that it leads to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The same channel for calls that must not wait for a registry that cannot be reached: while `contact` is lost,
    /// they fail at once, and a call that finds the registry gone loses it.
    #[must_use]
    pub fn with_contact(self, contact: RegistryContact) -> Self {
        Self { contact: Some(contact), ..self }
    }
}

impl Service<http::Request<Body>> for Channel {
    type Response = http::Response<Body>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        // `call` awaits readiness, within the call's deadline.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        if self.contact.as_ref().is_some_and(|contact| contact.lost_since().is_some()) {
            return Box::pin(std::future::ready(Err(RegistryContact::error().into())));
        }
        if let Some(secret) = &self.secret {
            secret.put(request.headers_mut());
        }
        // A subscription, the only call without a deadline, has no span: it is long-lived.
        let has_deadline = request.headers().contains_key(GRPC_TIMEOUT);
        let span = has_deadline.then(|| self.span_of(request.uri().path())).flatten();
        entered(span.as_ref()).in_scope(|| telemetry::inject_current(request.headers_mut()));
        Box::pin(self.clone().exchange(request, span))
    }
}

/// The span to enter.
fn entered(span: Option<&RpcSpan>) -> Span {
    span.map_or_else(Span::none, |span| span.span().clone())
}

impl Channel {
    /// The span of a call to the method at `path`, in a sampled trace.
    fn span_of(&self, path: &str) -> Option<RpcSpan> {
        if !telemetry::is_sampled() {
            return None;
        }
        let span = telemetry::client_span(path, &self.endpoint);
        (!span.span().is_disabled()).then_some(span)
    }

    /// Sends a request within its span, which ends with the response.
    async fn exchange(
        self,
        request: http::Request<Body>,
        span: Option<RpcSpan>,
    ) -> Result<http::Response<Body>, Status> {
        let sent = self.send(request).instrument(entered(span.as_ref())).await;
        let response = sent.map_err(|error| {
            let status = self.failed(error);
            span.iter().for_each(|span| span.ended(status.code()));
            status
        })?;
        if let Some(span) = &span {
            span.ended_with(response.headers());
        }
        let remote = matches!(self.kind, Kind::Remote(_)).then_some(self.endpoint);
        if span.is_none() && remote.is_none() {
            return Ok(response);
        }
        Ok(response.map(|body| Body::new(ResponseBody { body, remote, span })))
    }

    async fn send(&self, request: http::Request<Body>) -> Result<http::Response<Body>, Error> {
        match &self.kind {
            Kind::Remote(remote) => call_remote(&self.endpoint, remote.clone(), request).await,
            Kind::Local(slot) => {
                let Some(Provided { router, .. }) = slot.get() else {
                    return Err(Error::unavailable(format!("{} has not started", self.endpoint)));
                };
                match router.clone().oneshot(request).await {
                    Ok(response) => Ok(response.map(Body::new)),
                    Err(never) => match never {},
                }
            }
        }
    }

    /// The status of a call that failed with this error. It may lose the contact.
    fn failed(&self, error: Error) -> Status {
        let Some(contact) = self.contact.as_ref().filter(|_| error.reason == Reason::Unavailable) else {
            return error.into();
        };
        tracing::debug!(%error, "a call did not reach the registry");
        contact.set(false);
        RegistryContact::error().into()
    }
}

/// Calls a remote service. The deadline includes the wait for a connection, which tonic's own timer does not
/// cover.
async fn call_remote(
    endpoint: &Endpoint,
    Remote { transport, sent }: Remote,
    request: http::Request<Body>,
) -> Result<http::Response<Body>, Error> {
    let timeout =
        request.headers().get(GRPC_TIMEOUT).and_then(|value| parse_grpc_timeout(value.to_str().ok()?));
    let sent_before = sent.count();
    let call = transport.oneshot(request);
    let outcome = match timeout {
        None => call.await,
        Some(timeout) => tokio::time::timeout(timeout, call).await.map_err(|_| too_late())?,
    };
    outcome.map_err(|error| failure(endpoint, &error, sent.count() == sent_before))
}

fn too_late() -> Error {
    Error::new(Reason::DeadlineExceeded, "the deadline passed before there was an answer")
}

/// Distinguishes calls that are known not to have started from those that may have. `unsent`: the request did not leave
/// this process.
fn failure(endpoint: &Endpoint, error: &(dyn StdError + 'static), unsent: bool) -> Error {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref::<ConnectError>() {
            return Error::unavailable(format!("cannot reach {endpoint}: {}", root(refused)));
        }
        if error.is::<TimeoutExpired>() {
            return too_late();
        }
        // The request was still in this process when the connection closed.
        if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled) {
            return Error::unavailable(format!("the connection to {endpoint} is closed"));
        }
        // The peer drains and has not processed the request.
        if let Some(h2) = error.downcast_ref::<h2::Error>()
            && (h2.reason() == Some(h2::Reason::REFUSED_STREAM)
                || (h2.is_go_away() && h2.is_remote() && h2.reason() == Some(h2::Reason::NO_ERROR)))
        {
            return Error::unavailable(format!("{endpoint} stops"));
        }
        cause = error.source();
    }
    let root = root(error);
    if unsent {
        return Error::unavailable(format!(
            "the connection to {endpoint} broke before the call was sent: {root}"
        ));
    }
    Error::new(Reason::ConnectionLost, format!("the connection to {endpoint} broke: {root}"))
}

fn root<'a>(mut error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        for good in
            ["http://127.0.0.1:4001", "https://registry.funless:443", "unix:/run/r.sock", "local:registry"]
        {
            assert_eq!(good.parse::<Endpoint>().map(|e| e.to_string()), Ok(good.to_owned()));
        }
        for bad in ["127.0.0.1:4001", "registry", "unix:relative", "local:", "tunnel:w", "ftp://x", ""] {
            let error = bad.parse::<Endpoint>().expect_err(bad);
            assert!(error.contains("expected http://host:port"), "{error}");
        }
    }
}
