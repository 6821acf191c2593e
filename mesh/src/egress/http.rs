//! The HTTP client for requests to the world outside the mesh.
//!
//! reqwest asks a resolver for the addresses of a name without saying the port, and connects to an address in a URL
//! without asking. So the client decides on the addresses in URLs, before a request and at each redirect, and tells
//! the resolver, through a task-local, on whose behalf and for which port it resolves.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use http::Method;
use parking_lot::Mutex;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Proxy, Request, RequestBuilder, Response, redirect};
use url::{Host, Url};

use super::config::EgressConfig;
use super::decide::Denied;
use super::rule::normalized;
use super::{ConnectError, Egress, Outbound};

/// The `User-Agent` of requests that set none.
pub const USER_AGENT: &str = concat!("funless-mesh/", env!("CARGO_PKG_VERSION"));

const MAX_REDIRECTS: usize = 10;
/// For an error that cannot happen: reqwest resolves and redirects within the request's task.
const NO_REQUEST: &str = "resolved outside a request, which is denied";

tokio::task_local! {
    static CURRENT: CurrentRequest;
}

/// The request that is being sent.
struct CurrentRequest {
    outbound: Outbound,
    /// Of the URL that is being requested, which redirects change.
    target: Mutex<Target>,
}

/// What a resolver is not told.
#[derive(Debug, Clone, Copy)]
struct Target {
    port: u16,
    /// The name to resolve is that of the proxy.
    is_proxied: bool,
}

/// How requests are made.
#[derive(Debug, Clone, Copy, Default)]
pub struct HttpOptions {
    /// How long a request may take.
    pub timeout: Option<Duration>,
    /// How long a connection may take.
    pub connect_timeout: Option<Duration>,
    /// Redirects are followed.
    pub redirects: bool,
}

/// Sends requests that the egress policy allows. Clones share its connections.
#[derive(Debug, Clone)]
pub struct HttpClient {
    client: Client,
    /// The clients of modules and functions with restrictions, by the keys of these: a connection that one function
    /// may use is not for all.
    restricted: Arc<HashMap<Vec<String>, Client>>,
}

/// A request without a response.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The policy denies it, or a redirect.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// It failed.
    #[error(transparent)]
    Failed(#[from] reqwest::Error),
}

impl HttpClient {
    /// A client for this policy.
    pub fn new(egress: &Egress, options: HttpOptions) -> reqwest::Result<Self> {
        let config = &egress.0.config;
        let tls = crate::tls::web();
        let client = || build(config, options, tls.clone());
        let mut restricted = HashMap::new();
        // A function's key covers its module's, too.
        let modules = config.modules.keys().map(|module| format!("{module}/"));
        for function in modules.chain(config.functions.keys().cloned()) {
            restricted.insert(keys(config, &function), client()?);
        }
        Ok(Self { client: client()?, restricted: Arc::new(restricted) })
    }

    /// Begins a request, to be sent with [`HttpClient::send`].
    pub fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.client.request(method, url)
    }

    /// Sends a request on behalf of `outbound`.
    pub async fn send(&self, outbound: &Outbound, request: Request) -> Result<Response, HttpError> {
        self.send_unrecorded(outbound, request).await.inspect_err(|error| {
            if let HttpError::Denied(denied) = error {
                outbound.record(denied);
            }
        })
    }

    async fn send_unrecorded(&self, outbound: &Outbound, request: Request) -> Result<Response, HttpError> {
        let url = request.url();
        outbound.decide_url(url)?;
        outbound.decide_proxied(url).await?;
        let current = CurrentRequest { outbound: outbound.clone(), target: Mutex::new(outbound.target(url)) };
        let keys = keys(&outbound.egress.0.config, &outbound.function);
        let client = self.restricted.get(&keys).unwrap_or(&self.client);
        let sent = CURRENT.scope(current, client.execute(request)).await;
        sent.map_err(|error| denied(&error).cloned().map_or_else(|| error.into(), HttpError::Denied))
    }
}

/// The keys of a function's restrictions.
fn keys(config: &EgressConfig, function: &str) -> Vec<String> {
    config.restrictions(function).map(|(key, _)| key).collect()
}

fn build(config: &EgressConfig, options: HttpOptions, tls: rustls::ClientConfig) -> reqwest::Result<Client> {
    let follow = options.redirects;
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(USER_AGENT)
        .dns_resolver(CheckedResolver)
        .redirect(if follow { redirect::Policy::custom(check_redirect) } else { redirect::Policy::none() })
        .no_proxy();
    if let Some(timeout) = options.timeout {
        builder = builder.timeout(timeout);
    }
    if let Some(timeout) = options.connect_timeout {
        builder = builder.connect_timeout(timeout);
    }
    if config.proxy.is_some() {
        let config = config.clone();
        builder = builder.proxy(Proxy::custom(move |url| config.proxy_for(url).cloned()));
    }
    builder.build()
}

fn check_redirect(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let decided = CURRENT.try_with(|current| {
        *current.target.lock() = current.outbound.target(attempt.url());
        current.outbound.decide_url(attempt.url())
    });
    match decided {
        Ok(Ok(())) => redirect::Policy::limited(MAX_REDIRECTS).redirect(attempt),
        Ok(Err(denied)) => attempt.error(denied),
        Err(_) => attempt.error(NO_REQUEST),
    }
}

/// Resolves the names in URLs to addresses that may be connected to.
struct CheckedResolver;

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let current = CURRENT.try_with(|current| (current.outbound.clone(), *current.target.lock()));
        async move {
            let (outbound, Target { port, is_proxied }) = current.map_err(|_| NO_REQUEST)?;
            let addresses = match is_proxied {
                // The operator has chosen it.
                true => outbound.egress.0.resolver.lookup(name.as_str(), port).await?,
                false => match outbound.allowed_addresses(name.as_str(), port).await {
                    Ok(addresses) => addresses,
                    Err(ConnectError::Denied(denied)) => return Err(denied.into()),
                    Err(ConnectError::Io(error)) => return Err(error.into()),
                },
            };
            Ok(Box::new(addresses.into_iter()) as Addrs)
        }
        .boxed()
    }
}

impl Outbound {
    fn target(&self, url: &Url) -> Target {
        match self.egress.0.config.proxy_for(url) {
            Some(proxy) => Target { port: port(proxy), is_proxied: true },
            None => Target { port: port(url), is_proxied: false },
        }
    }

    /// Decides on the URL's address. If it has a name, decides only by the rules for names.
    fn decide_url(&self, url: &Url) -> Result<(), Denied> {
        self.decide(url.host_str().unwrap_or_default(), port(url), literal(url))
    }

    /// Decides on the addresses that a name has here, if a proxy will resolve it. The proxy may know more names.
    async fn decide_proxied(&self, url: &Url) -> Result<(), Denied> {
        if self.egress.0.config.proxy_for(url).is_none() || literal(url).is_some() {
            return Ok(());
        }
        let host = url.host_str().unwrap_or_default();
        match self.allowed_addresses(host, port(url)).await {
            Err(ConnectError::Denied(denied)) => Err(denied),
            Ok(_) | Err(ConnectError::Io(_)) => Ok(()),
        }
    }

    /// Connects to where requests to this URL are sent: to its host, or to the proxy.
    pub async fn connect_for_http(&self, url: &Url) -> Result<tokio::net::TcpStream, ConnectError> {
        let host = url.host_str().unwrap_or_default();
        let Some(proxy) = self.egress.0.config.proxy_for(url) else {
            return self.connect(host, port(url)).await;
        };
        self.decide_url(url).inspect_err(|denied| self.record(denied))?;
        let proxy_host = proxy.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let addresses = self.egress.0.resolver.lookup(proxy_host, port(proxy)).await?;
        Ok(tokio::net::TcpStream::connect(addresses.as_slice()).await?)
    }
}

impl EgressConfig {
    /// The proxy for requests to this URL.
    fn proxy_for(&self, url: &Url) -> Option<&Url> {
        let host = normalized(url.host_str().unwrap_or_default());
        let is_direct = self.no_proxy.iter().any(|rule| rule.matches(&host, port(url), literal(url)));
        self.proxy.as_ref().filter(|_| !is_direct).map(|proxy| proxy.url())
    }
}

/// The address in a URL, if it has no name.
fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
        Host::Domain(_) => None,
    }
}

fn port(url: &Url) -> u16 {
    url.port_or_known_default().unwrap_or_default()
}

/// The denial that has caused an error.
fn denied(error: &reqwest::Error) -> Option<&Denied> {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(denied) = error.downcast_ref() {
            return Some(denied);
        }
        cause = error.source();
    }
    None
}
