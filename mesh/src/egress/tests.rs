//! The HTTP client and the connections of brokers, against real servers.

use axum::Router;
use axum::http::Uri;
use axum::response::Redirect;
use axum::routing::get;
use http::Method;
use prometheus::Registry;
use url::Url;

use super::{ConnectError, Egress, EgressConfig, HttpClient, HttpError, HttpOptions, Outbound};
use crate::testing::Served;
use crate::testing::egress::{DENIED_BROKER_HOSTS, DENIED_URL_HOSTS, resolver};

const OPTIONS: HttpOptions = HttpOptions { timeout: None, connect_timeout: None, redirects: true };

/// A server that redirects to what its URLs have as query.
async fn serve() -> (Served, u16) {
    let redirect = |uri: Uri| async move { Redirect::temporary(uri.query().unwrap_or_default()) };
    let served = Served::start(Router::new().route("/", get("here")).route("/redirect", get(redirect))).await;
    let port = served.endpoint.port().expect("a TCP port");
    (served, port)
}

struct Client {
    http: HttpClient,
    outbound: Outbound,
    metrics: Registry,
}

impl Client {
    fn new(config: &str, answers: &[(&str, &[&str])]) -> Self {
        let config: EgressConfig = serde_json::from_str(config).expect("valid");
        let metrics = Registry::new();
        let egress = Egress::new(&config, [], resolver(answers), &metrics, &["function"]);
        let http = HttpClient::new(&egress, OPTIONS).expect("a client");
        Self { http, outbound: egress.of("function", "m/f"), metrics }
    }

    /// What a request is answered with, or why not.
    async fn get(&self, url: &str) -> String {
        let url = Url::parse(url).expect(url);
        // A new connection for each request.
        let request = self.http.request(Method::GET, url).header("connection", "close").build();
        match self.http.send(&self.outbound, request.expect("a request")).await {
            Ok(response) => response.text().await.expect("a text"),
            Err(HttpError::Denied(denied)) => format!("denied: {denied}"),
            Err(HttpError::Failed(error)) => format!("failed: {error:?}"),
        }
    }

    fn denied(&self) -> f64 {
        let families = self.metrics.gather();
        families.iter().flat_map(|family| family.get_metric()).map(|it| it.get_counter().get_value()).sum()
    }
}

#[tokio::test]
async fn special_addresses_are_denied_in_every_form() {
    let (_served, port) = serve().await;
    let client = Client::new("{}", &[]);
    for host in DENIED_URL_HOSTS {
        for url in [format!("http://{host}:{port}/"), format!("http://u:p@{host}:{port}/#@example.org")] {
            let answer = client.get(&url).await;
            assert!(answer.starts_with("denied: "), "{url}: {answer}");
        }
    }
    assert_eq!(client.denied(), DENIED_URL_HOSTS.len() as f64 * 2.0, "each is counted once");
    for host in DENIED_BROKER_HOSTS {
        let connected = client.outbound.connect(host, port).await;
        assert!(matches!(connected, Err(ConnectError::Denied(_))), "{host}: {connected:?}");
    }
}

#[tokio::test]
async fn each_redirect_is_decided_on() {
    let (_served, port) = serve().await;
    let (_other, denied_port) = serve().await;
    let client = Client::new(&format!(r#"{{"allow":["127.0.0.1:{port}"]}}"#), &[]);
    let redirected = |to: String| format!("http://127.0.0.1:{port}/redirect?{to}");
    assert_eq!(client.get(&redirected("/".into())).await, "here");
    assert_eq!(client.get(&redirected(format!("http://localhost:{port}/"))).await, "here");
    let twice = redirected(redirected(format!("http://localhost:{denied_port}/")));
    assert!(client.get(&twice).await.starts_with("denied: "));
    for host in DENIED_URL_HOSTS {
        let answer = client.get(&redirected(format!("http://{host}:{denied_port}/"))).await;
        assert!(
            answer.starts_with("denied: ") && answer.contains(&denied_port.to_string()),
            "{host}: {answer}"
        );
    }
    let endless = redirected("/redirect?/redirect".into());
    assert!(client.get(&endless).await.starts_with("failed: "));
}

#[tokio::test]
async fn the_mesh_is_denied_even_if_loopback_is_allowed() {
    let (_served, port) = serve().await;
    let config = format!(r#"{{"allow":["127.0.0.0/8"],"mesh_ports":[{port}]}}"#);
    let client = Client::new(&config, &[]);
    for host in ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"] {
        let answer = client.get(&format!("http://{host}:{port}/log")).await;
        assert!(answer.contains("it is one of the mesh's own ports"), "{host}: {answer}");
    }
}

#[tokio::test]
async fn a_second_answer_of_dns_is_not_connected_to() {
    let (_served, port) = serve().await;
    let allow = format!(r#"{{"allow":["127.0.0.1:{port}"]}}"#);
    // One look-up for each connection: two would use up both answers for the first.
    let rebinding: [(&str, &[&str]); 2] =
        [("rebinds.example", &["127.0.0.1", "127.0.0.2"]), ("late.example", &["127.0.0.2", "127.0.0.1"])];
    let client = Client::new(&allow, &rebinding);
    let url = format!("http://rebinds.example:{port}/");
    assert_eq!(client.get(&url).await, "here");
    assert!(client.get(&url).await.starts_with("denied: "));
    assert!(client.get(&format!("http://late.example:{port}/")).await.starts_with("denied: "));
    assert_eq!(client.get(&format!("http://late.example:{port}/")).await, "here");

    let client = Client::new(&allow, &rebinding);
    assert!(client.outbound.connect("rebinds.example", port).await.is_ok());
    let second = client.outbound.connect("rebinds.example", port).await;
    assert!(matches!(second, Err(ConnectError::Denied(_))), "{second:?}");
}

#[tokio::test]
async fn connections_of_one_function_are_not_reused_by_a_restricted_one() {
    let (_served, port) = serve().await;
    let config =
        r#"{"allow":["127.0.0.0/8"],"modules":{"m":{"deny":["127.0.0.0/8"]}},"functions":{"n/f":{}}}"#;
    let client = Client::new(config, &[]);
    let url = Url::parse(&format!("http://localhost:{port}/")).expect("a URL");
    let get = async |function: &str| {
        let outbound = client.outbound.egress.of("function", function);
        let request = client.http.request(Method::GET, url.clone()).build().expect("a request");
        client.http.send(&outbound, request).await.map(|response| response.status().as_u16())
    };
    for function in ["other/f", "n/f"] {
        assert_eq!(get(function).await.expect(function), 200);
    }
    assert!(matches!(get("m/f").await, Err(HttpError::Denied(_))));
}

#[tokio::test]
async fn a_proxy_takes_all_requests_but_those_to_denied_hosts() {
    let proxy = Router::new().fallback(|uri: Uri| async move { format!("proxied {uri}") });
    let served = Served::start(proxy).await;
    let (_direct, direct) = serve().await;
    let proxy = served.endpoint.port().expect("a TCP port");
    let config = format!(
        r#"{{"proxy":"http://localhost:{proxy}","no_proxy":["127.0.0.1"],"allow":["127.0.0.1:{direct}"],
            "deny":["bad.example"]}}"#
    );
    let client = Client::new(&config, &[]);
    assert_eq!(client.get("http://unknown.example/x").await, "proxied http://unknown.example/x");
    assert_eq!(client.get(&format!("http://127.0.0.1:{direct}/")).await, "here");
    for url in ["http://bad.example/", "http://private.example/", "http://10.0.0.1/", "http://127.0.0.1:1/"] {
        assert!(client.get(url).await.starts_with("denied: "), "{url}");
    }
}
