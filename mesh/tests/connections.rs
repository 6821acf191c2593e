//! Connections of clients, and the contact with the registry.

use std::time::Duration;

use axum::routing::get;
use mesh::config::Listen;
use mesh::contact::{REGISTRY_UNREACHABLE, RegistryContact};
use mesh::deadline::Deadline;
use mesh::listener::{ClientAddress, ConnectionLimit, Listener};
use mesh::testing::{Served, eventually};
use mesh::{Dialer, Error, Reason};
use prometheus::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// Requests the address of the client. Returns the response, which is empty if the connection is closed at once.
async fn ask(stream: &mut TcpStream) -> String {
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut response = vec![0; 1000];
    let size = stream.read(&mut response).await.unwrap_or_default();
    String::from_utf8(response[..size].to_vec()).expect("text")
}

#[tokio::test]
async fn an_address_may_have_so_many_connections() {
    let metrics = Registry::new();
    let listener = Listener::bind(&Listen::Tcp(([127, 0, 0, 1], 0).into())).await.expect("a free port");
    let address = listener.tcp_address().expect("a port");
    let whoami = async |client: axum::Extension<ClientAddress>| client.0.to_string();
    let router = axum::Router::new().route("/", get(whoami));
    let listener = listener.with_limit(ConnectionLimit::new(2, &metrics));
    let serving = tokio::spawn(listener.serve(router, CancellationToken::new(), Duration::from_secs(1)));

    let connect = async || TcpStream::connect(address).await.expect("connects");
    let (mut first, mut second) = (connect().await, connect().await);
    for stream in [&mut first, &mut second] {
        let response = ask(stream).await;
        assert!(response.starts_with("HTTP/1.1 200") && response.ends_with("127.0.0.1"), "{response}");
    }
    assert_eq!(ask(&mut connect().await).await, "", "one too many");
    assert!(ask(&mut first).await.starts_with("HTTP/1.1 200"), "the others go on");
    drop(first);
    eventually("there is room", async || ask(&mut connect().await).await.starts_with("HTTP/1.1 200")).await;
    serving.abort();
}

#[tokio::test]
async fn calls_fail_at_once_while_the_registry_is_away() {
    let nowhere = "http://127.0.0.1:1".parse().expect("an endpoint");
    let contact = RegistryContact::new(&Registry::new());
    let check = async |endpoint| {
        let channel = Dialer::default().dial(endpoint).expect("dialled").with_contact(contact.clone());
        let request = Deadline::after(Duration::from_secs(5)).attach(HealthCheckRequest::default());
        HealthClient::new(channel).check(request).await.map(drop).map_err(Error::from)
    };
    let unreachable = Err(Error::new(Reason::Unavailable, REGISTRY_UNREACHABLE));
    assert_eq!(check(&nowhere).await, unreachable);
    assert!(contact.lost_since().is_some(), "the call has found out");

    let (_, health) = tonic_health::server::health_reporter();
    let served = Served::start(tonic::service::Routes::new(health).into_axum_router()).await;
    assert_eq!(
        check(&served.endpoint).await,
        unreachable,
        "nothing is sent before somebody else finds it there"
    );
    contact.set(true);
    assert_eq!(check(&served.endpoint).await, Ok(()));
}
