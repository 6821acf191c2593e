//! Event sources that the egress policy denies, and addresses that it allows.

use std::sync::Arc;

use async_nats::jetstream::stream::Config;
use mesh::Host;
use mesh::egress::{EgressConfig, Resolver};
use mesh::testing::egress::{DENIED_BROKER_HOSTS, resolver};
use mesh::testing::eventually;
use parking_lot::Mutex;
use proto::binding::v1::BindingState;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::server::Acceptor;

use crate::support::servers::{Mosquitto, Nats};
use crate::support::{Connector, Stage};

/// A connector with this policy and these answers of DNS.
async fn connector(stage: &mut Stage, egress: EgressConfig, resolver: Resolver) -> Connector {
    stage.egress = egress;
    let host = Host { resolver, ..mesh::testing::host("connector") };
    host.dialer.provide("registry", stage.registry.router());
    host.dialer.provide("scheduler", stage.scheduler.router());
    stage.connector_in(host).await
}

fn allowing(rules: &[String]) -> EgressConfig {
    let allow = rules.iter().map(|rule| rule.parse().expect("a rule")).collect();
    EgressConfig { allow, ..EgressConfig::default() }
}

fn denied(connector: &Connector, kind: &str) -> f64 {
    let families = connector.host.metrics.gather();
    let family = families.iter().find(|family| family.name() == "funless_egress_denied_total");
    let series = family.expect("the metric is there").get_metric().iter();
    let of_kind = series.filter(|series| series.get_label().iter().any(|label| label.value() == kind));
    of_kind.map(|series| series.get_counter().get_value()).sum()
}

/// Waits until the status of a binding says that egress is denied, with these words.
async fn assert_denied(connector: &Connector, id: &str, words: &str) {
    let is_denied = async || {
        let message = connector.status(id).await.message;
        message.starts_with("egress to ") && message.contains(words)
    };
    eventually(&format!("{id} is denied"), is_denied).await;
}

/// The parameters of bindings of each kind to this broker.
fn bindings(host: &str) -> Vec<(&'static str, Value)> {
    let bracketed = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    vec![
        ("mqtt", json!({ "host": host, "topic": "t" })),
        ("mqtt", json!({ "host": host, "topic": "t", "version": "3.1.1", "port": 4101 })),
        ("mqtt", json!({ "host": format!("mqtts://{bracketed}"), "topic": "t" })),
        ("nats", json!({ "url": bracketed, "stream": "S" })),
        ("nats", json!({ "url": format!("tls://{bracketed}:4001"), "stream": "S" })),
    ]
}

#[tokio::test]
async fn special_addresses_are_denied_to_sources_of_every_kind() {
    let mut stage = Stage::new();
    let mut ids = Vec::new();
    for host in DENIED_BROKER_HOSTS.into_iter().chain(["fe80::1%lo"]) {
        for (kind, params) in
            bindings(host).into_iter().filter(|(kind, _)| *kind == "mqtt" || !host.contains('%'))
        {
            let id = format!("{} {params}", ids.len());
            stage.registry.bind(&id, kind, &params);
            ids.push(id);
        }
    }
    let connector = connector(&mut stage, EgressConfig::default(), resolver(&[])).await;
    for id in &ids {
        assert_denied(&connector, id, " is denied: it is ").await;
    }
    for kind in ["mqtt", "nats"] {
        assert!(denied(&connector, kind) > 0.0, "{kind} is counted");
    }
}

#[tokio::test]
async fn the_meshs_own_ports_are_denied_to_sources_of_every_kind() {
    let mut stage = Stage::new();
    let allowed = allowing(&["127.0.0.0/8".into()]);
    stage.registry.bind("mqtt", "mqtt", &json!({ "host": "localhost:4104", "topic": "t" }));
    stage.registry.bind("nats", "nats", &json!({ "url": "127.0.0.1:4001", "stream": "S" }));
    let connector = connector(&mut stage, allowed, resolver(&[])).await;
    for id in ["mqtt", "nats"] {
        assert_denied(&connector, id, "it is one of the mesh's own ports").await;
    }
}

/// One look-up for each connection: two for the first would use up its answer, and connect to the second.
#[tokio::test]
async fn a_second_answer_of_dns_is_not_connected_to() {
    let (mut broker, mut nats, mut stage) = (Mosquitto::start().await, Nats::start().await, Stage::new());
    let stream = Config { name: "S".into(), subjects: vec!["s.>".into()], ..Config::default() };
    nats.jetstream().await.create_stream(stream).await.expect("a stream");
    let rules = [broker.port, nats.port].map(|port| format!("127.0.0.1:{port}"));
    let answers: &[&str] = &["127.0.0.1", "127.0.0.2"];
    let resolver = resolver(&[("mqtt.example", answers), ("nats.example", answers)]);
    let (mqtt_host, url) = (format!("mqtt.example:{}", broker.port), format!("nats.example:{}", nats.port));
    stage.registry.bind("mqtt", "mqtt", &json!({ "host": mqtt_host, "topic": "t" }));
    stage.registry.bind("nats", "nats", &json!({ "url": url, "stream": "S" }));
    let connector = connector(&mut stage, allowing(&rules), resolver).await;
    connector.connected("mqtt").await;
    connector.connected("nats").await;
    broker.kill();
    nats.kill();
    for id in ["mqtt", "nats"] {
        assert_denied(&connector, id, " is denied: it is a loopback address").await;
    }
}

/// A front of a broker with TLS. Returns its port, its certificate, and the names that clients have asked for.
async fn tls_front(broker: u16, name: &str) -> (u16, String, Arc<Mutex<Vec<String>>>) {
    let certified = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
    let key = certified.signing_key.serialize_der().try_into().expect("a key");
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .expect("a configuration");
    let (config, names) = (Arc::new(config), Arc::new(Mutex::new(Vec::new())));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let asked_for = Arc::clone(&names);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(hello) = LazyConfigAcceptor::new(Acceptor::default(), client).await else { continue };
            asked_for.lock().push(hello.client_hello().server_name().unwrap_or_default().to_owned());
            let Ok(mut client) = hello.into_stream(Arc::clone(&config)).await else { continue };
            let mut broker = TcpStream::connect(("127.0.0.1", broker)).await.expect("the broker runs");
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut broker).await });
        }
    });
    (port, certified.cert.pem(), names)
}

#[tokio::test]
async fn with_tls_the_name_is_kept_and_the_address_is_decided_on() {
    let (broker, mut stage) = (Mosquitto::start().await, Stage::new());
    let (port, ca, names) = tls_front(broker.port, "broker.example").await;
    let resolver = resolver(&[("broker.example", &["127.0.0.1"]), ("other.example", &["127.0.0.1"])]);
    for (id, host, version) in
        [("5", "broker.example", "5"), ("3", "broker.example", "3.1.1"), ("other", "other.example", "5")]
    {
        let host = format!("mqtts://{host}:{port}");
        let params = json!({ "host": host, "topic": "t", "version": version, "ca": ca });
        stage.registry.bind(id, "mqtt", &params);
    }
    let connector = connector(&mut stage, allowing(&[format!("127.0.0.1:{port}")]), resolver).await;
    connector.connected("5").await;
    connector.connected("3").await;
    broker.publish(&["-t", "t", "-m", "1"]);
    connector.settled("5", 1).await;
    connector.settled("3", 1).await;
    assert!(names.lock().iter().any(|name| name == "broker.example"), "{:?}", names.lock());
    let problem = connector.retrying("other").await;
    assert!(
        problem.starts_with("TLS with the broker failed: "),
        "the certificate is for another name: {problem}"
    );
    assert_eq!(connector.status("other").await.state(), BindingState::Retrying);
    connector.stop().await;
}
