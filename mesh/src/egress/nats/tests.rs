//! Connections to servers that are played here, from clients that are, too.

use std::sync::Arc;

use prometheus::Registry;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::egress::Egress;
use crate::testing::egress::{loopback, resolver};
use crate::testing::nats::HostileNats;

const INFO: &[u8] = b"INFO {\"port\":4222,\"connect_urls\":[\"10.0.0.1:4222\"]}\r\n";

/// Connections of a binding that may connect to loopback.
fn outbound() -> Outbound {
    let resolver = resolver(&[("nats.example", &["127.0.0.1"]), ("other.example", &["127.0.0.1"])]);
    Egress::new(&loopback(), [], resolver, &Registry::new(), &[]).of("nats", "m/f")
}

async fn server() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    (listener, port)
}

async fn open(url: &str, user: NatsUser) -> Result<NatsConnection, ConnectError> {
    crate::tls::install_crypto();
    NatsConnection::open(&outbound(), &url.parse().expect("a URL"), user, None).await
}

/// A client of a connection.
async fn client(connection: &NatsConnection) -> TcpStream {
    TcpStream::connect((Ipv4Addr::LOCALHOST, connection.port)).await.expect("it listens")
}

/// A client that shows its token.
async fn introduced(connection: &NatsConnection) -> TcpStream {
    let mut client = client(connection).await;
    assert!(line(&mut client).await.starts_with("INFO {"));
    let options = json!({ "auth_token": connection.token().expose(), "name": "c", "tls_required": false });
    client.write_all(format!("CONNECT {options}\r\nPING\r\n").as_bytes()).await.expect("sent");
    client
}

/// The next line, or nothing if there are no more.
async fn line(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut line = Vec::new();
    while let Ok(byte) = stream.read_u8().await {
        line.push(byte);
        if line.ends_with(b"\r\n") {
            break;
        }
    }
    String::from_utf8(line).expect("text")
}

/// The options that a server gets.
async fn options(stream: &mut (impl AsyncRead + Unpin)) -> Value {
    let line = line(stream).await;
    serde_json::from_str(line.strip_prefix("CONNECT ").expect(&line)).expect("JSON")
}

#[tokio::test]
async fn the_server_gets_the_user_and_the_client_what_it_needs() {
    let named = NatsUser::Named { username: "u".into(), password: Secret::new("p") };
    for (user, expected) in [
        (NatsUser::Anonymous, json!({ "name": "c", "tls_required": false })),
        (NatsUser::Token(Secret::new("t")), json!({ "name": "c", "tls_required": false, "auth_token": "t" })),
        (named, json!({ "name": "c", "tls_required": false, "user": "u", "pass": "p" })),
    ] {
        let (listener, port) = server().await;
        let play = async {
            let (mut server, _) = listener.accept().await.expect("a connection");
            server.write_all(INFO).await.expect("sent");
            assert_eq!(options(&mut server).await, expected);
            assert_eq!(line(&mut server).await, "PING\r\n");
            server.write_all(b"PONG\r\nMSG a 1 2\r\nhi\r\n").await.expect("sent");
            line(&mut server).await
        };
        let call = async {
            let connection = open(&format!("nats://127.0.0.1:{port}"), user).await.expect("a connection");
            let mut client = client(&connection).await;
            assert_eq!(line(&mut client).await, "INFO {\"port\":4222}\r\n");
            let options = json!({ "auth_token": connection.token().expose(), "name": "c" });
            client.write_all(format!("CONNECT {options}\r\nPING\r\n").as_bytes()).await.expect("sent");
            for expected in ["PONG\r\n", "MSG a 1 2\r\n", "hi\r\n"] {
                assert_eq!(line(&mut client).await, expected);
            }
            client.write_all(b"PUB a 2\r\n").await.expect("sent");
            drop(client);
            connection
        };
        let (sent, connection) = tokio::join!(play, call);
        assert_eq!((sent.as_str(), connection.violation()), ("PUB a 2\r\n", None));
    }
}

#[tokio::test]
async fn strangers_reach_no_server_and_no_client() {
    let (listener, port) = server().await;
    let url = format!("nats://127.0.0.1:{port}");
    let opened = open(&url, NatsUser::Token(Secret::new("t")));
    let play = async {
        let (mut server, _) = listener.accept().await.expect("a connection");
        server.write_all(INFO).await.expect("sent");
        server
    };
    let (mut server, connection) = tokio::join!(play, opened);
    let connection = connection.expect("a connection");
    // One says nothing, and holds up nobody.
    let _silent = client(&connection).await;
    for stranger in ["CONNECT {\"auth_token\":\"t\"}\r\nPING\r\n", "CONNECT {}\r\n", "PING\r\n", "\n"] {
        let mut client = client(&connection).await;
        client.write_all(stranger.as_bytes()).await.expect("sent");
        line(&mut client).await;
        assert_eq!(line(&mut client).await, "", "{stranger:?} is disconnected");
    }
    let mut own = introduced(&connection).await;
    assert_eq!(options(&mut server).await["auth_token"], "t", "the first that the server gets");
    server.write_all(b"PONG\r\n").await.expect("sent");
    assert_eq!(line(&mut own).await, "PONG\r\n");
    drop(server);
    assert_eq!(line(&mut own).await, "", "the connection has ended");
    assert_eq!(line(&mut client(&connection).await).await, "", "it is not made again");
}

/// A server's configuration with a certificate for `nats.example`, and that of clients which trust it.
fn tls() -> (TlsAcceptor, ClientConfig) {
    crate::tls::install_crypto();
    let certified = rcgen::generate_simple_self_signed(["nats.example".to_owned()]).expect("a certificate");
    let key = certified.signing_key.serialize_der().try_into().expect("a key");
    let certificate = certified.cert.der().clone();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("a root");
    let server = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key);
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    (Arc::new(server.expect("valid")).into(), client)
}

#[tokio::test]
async fn tls_begins_after_info() {
    let required = "INFO {\"tls_required\":true}\r\n";
    for (url, info, expected) in [
        ("tls://nats.example", "INFO {}\r\n", Ok(())),
        ("nats://nats.example", required, Ok(())),
        (
            "nats://other.example",
            required,
            Err("TLS failed: invalid peer certificate: certificate not valid for name"),
        ),
        ("tls://nats.example", "INFO {}\r\nPING\r\n", Err("the server sent more than INFO before TLS")),
        ("tls://nats.example", "INFO {}\r\nP", Err("the server sent more than INFO before TLS")),
    ] {
        let (listener, port) = server().await;
        let (acceptor, trusting) = tls();
        let play = async {
            let (mut server, _) = listener.accept().await.expect("a connection");
            server.write_all(info.as_bytes()).await.expect("sent");
            let Ok(mut server) = acceptor.accept(server).await else { return };
            let options = options(&mut server).await;
            assert_eq!((&options["user"], &options["tls_required"]), (&json!("u"), &json!(true)));
            server.write_all(b"PONG\r\n").await.expect("sent");
            server.flush().await.expect("sent");
        };
        let call = async {
            let user = NatsUser::Named { username: "u".into(), password: Secret::new("p") };
            let url = format!("{url}:{port}").parse().expect("a URL");
            let connection = NatsConnection::open_with(&outbound(), &url, user, None, || trusting).await;
            let connection = connection.map_err(|error| error.to_string())?;
            let mut client = introduced(&connection).await;
            assert_eq!(line(&mut client).await, "PONG\r\n");
            Ok::<_, String>(())
        };
        let outcome = tokio::join!(play, call).1;
        match (&outcome, expected) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(expected)) if error.starts_with(expected) => {}
            _ => panic!("{url} {info:?}: {outcome:?}"),
        }
    }
}

#[tokio::test]
async fn a_server_is_read_up_to_a_limit() {
    for (start, more, expected) in [
        ("INFO {\"a\":\"", "a", "the server sent a control line of more than 65536 bytes"),
        ("HTTP/1.1 200 OK\r\n", "a", "the server did not begin with INFO"),
        ("INFO {}\r\n-ERR ", "a", "the server sent a control line of more than 65536 bytes"),
        (
            "INFO {}\r\nMSG a 1 314572800\r\n",
            "a",
            "the server sent a message of 314572800 bytes; at most 67108864 are accepted",
        ),
    ] {
        let hostile = HostileNats::start(start, more).await;
        let error = match open(&format!("nats://127.0.0.1:{}", hostile.port), NatsUser::Anonymous).await {
            Err(error) => error.to_string(),
            Ok(connection) => {
                let _client = introduced(&connection).await;
                connection.violated().await.to_string()
            }
        };
        assert_eq!(error, expected);
        hostile.assert_few_read();
    }
}

#[tokio::test]
async fn a_server_that_does_not_read_is_not_read() {
    let hostile = HostileNats::start("INFO {}\r\n", "PING\r\n").await;
    let url = format!("nats://127.0.0.1:{}", hostile.port);
    let connection = open(&url, NatsUser::Anonymous).await.expect("a connection");
    let (mut reader, mut writer) = introduced(&connection).await.into_split();
    // It keeps the answers that it cannot send.
    let (pings, mut pongs) = watch::channel(0);
    let read = async {
        let mut buffer = vec![0; BUFFER_BYTES];
        while let Ok(1..) =
            reader.read(&mut buffer).await.inspect(|bytes| pings.send_modify(|all| *all += bytes))
        {}
    };
    let write = async {
        let mut written = 0;
        while pongs.changed().await.is_ok() {
            let answers = "PONG\r\n".repeat((*pongs.borrow_and_update() - written) / 6);
            written += answers.len();
            writer.write_all(answers.as_bytes()).await.expect("it is open");
        }
    };
    tokio::select! {
        _ = async { tokio::join!(read, write) } => panic!("the connection has ended"),
        () = hostile.stalls() => hostile.assert_few_read(),
    }
}

#[tokio::test]
async fn payloads_are_read_while_there_is_room() {
    let message = format!("MSG a 1 1000\r\n{}\r\n", "a".repeat(1000));
    let hostile = HostileNats::start("INFO {}\r\n", &message).await;
    let url = format!("nats://127.0.0.1:{}", hostile.port).parse().expect("a URL");
    crate::tls::install_crypto();
    let payloads = Some(Payloads::default());
    let opened = NatsConnection::open(&outbound(), &url, NatsUser::Anonymous, payloads).await;
    let connection = opened.expect("a connection");
    let mut client = introduced(&connection).await;
    let mut received = 0;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut until_stalled = async || {
        let before = received;
        loop {
            tokio::select! {
                read = client.read(&mut buffer) => received += read.expect("it is open"),
                () = hostile.stalls() => return (received - before) * 1001 / message.len(),
            }
        }
    };
    let first = until_stalled().await;
    assert!((64 << 20..65 << 20).contains(&first), "{first} bytes of messages have arrived");
    drop(connection.claim(1 << 20));
    // The buffer that was too much at first is missing now.
    let more = until_stalled().await;
    assert!((1 << 19..2 << 20).contains(&more), "{more} bytes more");
}
