//! The connections of sinks, as the egress policy allows them.

use std::time::Duration;

use mesh::egress::{ConnectError, Egress, HttpClient, HttpError, HttpOptions, Outbound};
use proto::registry::v1::FunctionBinding;
use reqwest::{Method, Request, RequestBuilder, Response};
use tokio::net::TcpStream;
use url::Url;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The connections of all bindings, which share those of HTTP. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    egress: Egress,
    http: HttpClient,
}

/// The connections of one binding.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    outbound: Outbound,
    http: HttpClient,
}

impl Network {
    /// The connections of a process.
    pub(crate) fn new(egress: Egress) -> reqwest::Result<Self> {
        let options = HttpOptions { connect_timeout: Some(CONNECT_TIMEOUT), ..HttpOptions::default() };
        let http = HttpClient::new(&egress, options)?;
        Ok(Self { egress, http })
    }

    /// The connections of a binding of this kind.
    pub(super) fn of(&self, kind: &'static str, binding: &FunctionBinding) -> Connector {
        let function = format!("{}/{}", binding.module, binding.function);
        Connector { outbound: self.egress.of(kind, &function), http: self.http.clone() }
    }
}

impl Connector {
    /// Begins a request, to be sent with [`Connector::execute`].
    pub(super) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.http.request(method, url)
    }

    /// Sends a request.
    pub(super) async fn execute(&self, request: Request) -> Result<Response, HttpError> {
        self.http.send(&self.outbound, request).await
    }

    /// Connects to where requests to this URL are sent.
    pub(super) async fn connect(&self, url: &Url) -> Result<TcpStream, ConnectError> {
        self.outbound.connect_for_http(url).await
    }

    /// What else it may connect to.
    pub(super) fn outbound(&self) -> &Outbound {
        &self.outbound
    }
}

#[cfg(test)]
pub(super) mod tests {
    use mesh::egress::EgressConfig;
    use mesh::testing::egress::{DENIED_BROKER_HOSTS, DENIED_URL_HOSTS, loopback, resolver};
    use proto::registry::v1::Binding;

    use super::*;
    use crate::kinds::{FaultScope, open};

    fn network(config: &EgressConfig, answers: &[(&str, &[&str])]) -> Network {
        let egress = Egress::new(config, [], resolver(answers), &prometheus::Registry::new(), &[]);
        Network::new(egress).expect("a client")
    }

    /// The default policy.
    pub(in crate::kinds) fn denying() -> Network {
        network(&EgressConfig::default(), &[])
    }

    /// A policy that allows loopback.
    pub(in crate::kinds) fn allowing() -> Network {
        network(&loopback(), &[])
    }

    fn binding(kind: &str, url: &str) -> FunctionBinding {
        let subject = if kind == "nats" { r#","subject":"s""# } else { "" };
        let params = format!(r#"{{"url":"{url}"{subject}}}"#);
        let binding = Binding { id: "b".into(), r#type: kind.into(), params };
        let (module, function) = ("m".into(), "f".into());
        FunctionBinding { binding: Some(binding), module, function, ..FunctionBinding::default() }
    }

    async fn assert_denied(network: &Network, kind: &str, url: &str) {
        let Ok(opened) = open(&binding(kind, url), network) else {
            // Not an address that can be connected to.
            return;
        };
        let delivery = crate::kinds::Delivery { invocation_id: "i".into(), result: "{}".into() };
        let (probed, delivered) = (opened.sink.probe().await, opened.sink.deliver(&[delivery]).await);
        for (away, what) in [(probed.err(), "a probe"), (delivered.err(), "a delivery")] {
            let away = away.unwrap_or_else(|| panic!("{what} to {url} succeeds"));
            let reason = away.reason.to_string();
            assert!(
                reason.contains("egress to ") && reason.contains(" is denied: "),
                "{kind} {url}: {reason}"
            );
            assert_eq!((away.scope, away.shows_in_probe), (FaultScope::Binding, true), "{kind} {url}");
        }
    }

    #[tokio::test]
    async fn special_addresses_are_denied_to_sinks_of_every_kind() {
        let network = denying();
        for host in DENIED_URL_HOSTS {
            assert_denied(&network, "couchdb", &format!("http://{host}:5984/db")).await;
            assert_denied(&network, "couchdb", &format!("https://u:p@{host}/db")).await;
            assert_denied(&network, "webhook", &format!("http://{host}/#@example.org")).await;
            assert_denied(&network, "webhook", &format!("https://example.org:80@{host}:8443/")).await;
        }
        for host in DENIED_BROKER_HOSTS {
            let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
            assert_denied(&network, "nats", &format!("nats://{host}:4222")).await;
            assert_denied(&network, "nats", &format!("tls://u:p@{host}")).await;
        }
    }

    #[tokio::test]
    async fn the_meshs_own_ports_are_denied_to_sinks_of_every_kind() {
        let network = allowing();
        for host in ["127.0.0.1", "localhost"] {
            for (kind, url) in [
                ("couchdb", format!("http://{host}:4105/log")),
                ("webhook", format!("http://{host}:4000/v1")),
                ("nats", format!("nats://{host}:4001")),
            ] {
                assert_denied(&network, kind, &url).await;
            }
        }
    }

    /// A policy checks the answer that is connected to: two look-ups for one connection would use up the first
    /// answer, and connect to the second.
    #[tokio::test]
    async fn a_second_answer_of_dns_is_not_connected_to() {
        // Each request has a new connection.
        let router = axum::Router::new().fallback(async || [("connection", "close")]);
        let served = mesh::testing::Served::start(router).await;
        let port = served.endpoint.port().expect("a TCP port");
        let allow = format!("127.0.0.1:{port}").parse().expect("a rule");
        let config = EgressConfig { allow: vec![allow], ..EgressConfig::default() };
        for (kind, scheme) in [("couchdb", "http"), ("webhook", "http"), ("nats", "nats")] {
            let network = network(&config, &[("rebinds.example", &["127.0.0.1", "127.0.0.2"])]);
            let url = format!("{scheme}://rebinds.example:{port}/db");
            let sink = open(&binding(kind, &url), &network).expect("valid").sink;
            // This server is neither CouchDB nor NATS, but it is connected to.
            let reason = sink.probe().await.map_err(|away| away.reason.to_string()).err().unwrap_or_default();
            assert!(!reason.contains("is denied"), "{kind}: {reason}");
            assert_denied(&network, kind, &url.replace("/db", "/other")).await;
        }
    }
}
