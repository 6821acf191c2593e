//! Connections of functions that the egress policy denies.

use axum::Router;
use axum::http::Uri;
use axum::response::Redirect;
use axum::routing::get;
use mesh::Reason;
use mesh::egress::{EgressConfig, Restriction};
use mesh::testing::Served;
use mesh::testing::egress::DENIED_URL_HOSTS;
use proto::log::v1::{LogLine, TailLogsRequest};
use proto::worker::v1::ExecuteRequest;
use proto::worker::v1::logs_client::LogsClient;

use crate::http::{requesting, return_status};
use crate::support::{Worker, assert_failed, result};

/// Responds with the status of a request, 0 if it failed.
fn status_of(worker: &Worker, uri: &str) -> ExecuteRequest {
    worker.request(&requesting(0, uri, "", "", &return_status()), "")
}

/// A server that redirects to what its URLs have as query.
async fn serve() -> (Served, u16) {
    let redirect = |uri: Uri| async move { Redirect::temporary(uri.query().unwrap_or_default()) };
    let served = Served::start(Router::new().route("/", get("1")).route("/redirect", get(redirect))).await;
    let port = served.endpoint.port().expect("a TCP port");
    (served, port)
}

async fn log(worker: &Worker) -> Vec<LogLine> {
    let request = TailLogsRequest { function_id: "f-1".into(), ..TailLogsRequest::default() };
    let mut logs = LogsClient::new(worker.channel()).tail_logs(request).await.expect("a stream").into_inner();
    logs.message().await.expect("a message").map(|message| message.lines).unwrap_or_default()
}

/// Asserts that requests to these fail with status 0, and that the log says that egress is denied.
async fn assert_denied(worker: &Worker, uris: &[String]) {
    for uri in uris {
        let request = ExecuteRequest { function_id: "f-1".into(), ..status_of(worker, uri) };
        let outcome = worker.execute(request).await;
        assert_failed(outcome, Reason::GuestBadResponse, "the function returned no response");
        let lines = log(worker).await;
        let last = lines.last().map(|line| line.text.as_str()).unwrap_or_default();
        assert!(last.starts_with("HTTP request failed: egress to "), "{uri}: {last}");
    }
    let denied = worker.metric("funless_egress_denied_total", Some("function"));
    assert_eq!(denied, uris.len() as f64);
}

#[tokio::test]
async fn special_addresses_are_denied_in_every_form() {
    let worker = Worker::start_with(|config| config.egress = EgressConfig::default()).await;
    let (_served, port) = serve().await;
    let tricks = [
        format!("http://example.org@127.0.0.1:{port}/"),
        format!("http://example.org:80@localhost:{port}/"),
        format!("http://localhost:{port}#@example.org/"),
        format!("http://127.0.0.1:{port}\\@example.org/"),
        format!("http://127。0。0。1:{port}/"),
        format!("http://%31%32%37.0.0.1:{port}/"),
        format!("http://①②⑦.0.0.1:{port}/"),
    ];
    let uris: Vec<_> =
        DENIED_URL_HOSTS.iter().map(|host| format!("http://{host}:{port}/")).chain(tricks).collect();
    assert_denied(&worker, &uris).await;
}

#[tokio::test]
async fn redirects_to_denied_addresses_are_not_followed() {
    let (_served, port) = serve().await;
    let (_other, denied) = serve().await;
    let allow = format!("127.0.0.1:{port}").parse().expect("a rule");
    let egress = EgressConfig { allow: vec![allow], ..EgressConfig::default() };
    let worker = Worker::start_with(|config| config.egress = egress).await;
    let redirected = |host: &&str| format!("http://127.0.0.1:{port}/redirect?http://{host}:{denied}/");
    let uris: Vec<_> = DENIED_URL_HOSTS.iter().map(redirected).collect();
    assert_denied(&worker, &uris).await;
}

#[tokio::test]
async fn the_meshs_own_ports_are_denied_even_if_loopback_is_allowed() {
    let worker = Worker::start().await;
    let registry = worker.registry.endpoint().port().expect("a TCP port");
    let hosts = ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"];
    let uri = |host: &str, port: u16| format!("http://{host}:{port}/log");
    // The last three are default ports: of admin pages and of the REST API.
    let ports = [registry, 4103, 4105, 4000];
    let uris: Vec<_> = ports.iter().flat_map(|port| hosts.map(|host| uri(host, *port))).collect();
    assert_denied(&worker, &uris).await;
}

#[tokio::test]
async fn functions_and_modules_can_be_restricted() {
    let (_served, port) = serve().await;
    let nothing =
        || Restriction { only: vec!["example.org".parse().expect("a rule")], ..Restriction::default() };
    let worker = Worker::start_with(|config| {
        config.egress.modules.insert("shop".into(), nothing());
        config.egress.functions.insert("_/g".into(), nothing());
    })
    .await;
    let body = "(call $respond (i32.const 1) (i32.load (i32.const 40000))) (i32.const 0)";
    let request = worker.request(&requesting(0, &format!("http://127.0.0.1:{port}/"), "", "", body), "");
    for (module, function, is_allowed) in [("_", "f", true), ("_", "g", false), ("shop", "f", false)] {
        let request = ExecuteRequest { module: module.into(), function: function.into(), ..request.clone() };
        assert_eq!(worker.execute(request).await == result("1"), is_allowed, "{module}/{function}");
    }
}
