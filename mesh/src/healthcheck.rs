//! The command `healthcheck` of every service: asks the admin port of the running service whether it is ready. Images
//! without a shell and an HTTP client use it.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::config::ServerConfig;

/// How long to wait for the connection, and then for each part of the response.
const TIMEOUT: Duration = Duration::from_secs(3);
/// A response lists a few conditions; more is not read.
const MAX_RESPONSE_BYTES: u64 = 64 << 10;

/// Fails, with the reason, unless the service with this configuration runs on this machine and is ready.
pub(crate) fn run(server: &ServerConfig) -> Result<(), String> {
    let Some(address) = server.admin_listen.address(&server.listen) else {
        return Err(
            "server.admin_listen: expected an address, since the admin port tells whether the service is \
                    ready"
                .into(),
        );
    };
    let response = ask(reachable(address)).map_err(|error| format!("{address} does not answer: {error}"))?;
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or((&response, ""));
    match head.split_whitespace().nth(1) {
        Some("200") => Ok(()),
        Some("503") => Err(format!("not ready: {}", body.trim_end().replace('\n', "; "))),
        _ => Err(format!("{address} is not an admin port of the mesh: it has no /readyz")),
    }
}

/// The address at which this machine reaches a listener on `address`.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    address
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut response = Vec::new();
    stream.take(MAX_RESPONSE_BYTES).read_to_end(&mut response)?;
    Ok(String::from_utf8_lossy(&response).into_owned())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::config::AdminListen;

    /// What the command says of an admin port that responds like this.
    fn check(response: &'static str) -> Result<(), String> {
        let listener = TcpListener::bind("0.0.0.0:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut request = Vec::new();
            // A connection that is closed before all is read is reset.
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).expect("a request");
                request.extend(byte);
            }
            assert!(request.starts_with(b"GET /readyz HTTP/1.1\r\n"));
            stream.write_all(response.as_bytes()).expect("sent");
        });
        let result = run(&ServerConfig { admin_listen: AdminListen::At(address), ..ServerConfig::default() });
        server.join().expect("no panic");
        result
    }

    #[test]
    fn a_service_is_healthy_when_it_is_ready() {
        assert_eq!(check("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nready\n"), Ok(()));
        let error = check("HTTP/1.1 503 Service Unavailable\r\n\r\nsink: database\nsink: registry\n");
        assert_eq!(error, Err("not ready: sink: database; sink: registry".into()));
        let error = check("HTTP/1.1 404 Not Found\r\n\r\n").expect_err("no admin port");
        assert!(error.contains("is not an admin port"), "{error}");
    }

    #[test]
    fn a_service_without_an_answer_is_not_healthy() {
        let error = run(&ServerConfig { admin_listen: AdminListen::Off, ..ServerConfig::on_port(4001) });
        assert!(error.expect_err("no port").starts_with("server.admin_listen: expected an address"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let error = run(&ServerConfig { admin_listen: AdminListen::At(address), ..ServerConfig::default() })
            .expect_err("nobody listens");
        assert!(error.starts_with(&format!("{address} does not answer: ")), "{error}");
    }
}
