//! Connections to brokers, as the egress policy allows them.
//!
//! rumqttc looks up the broker's name by itself, and with TLS it needs the name. So it is given an address that the
//! policy allows; with TLS, it is given one end of a connection that is made here.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh::egress::{ConnectError, Outbound};
use rumqttc::Transport;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixListener};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use uuid::Uuid;

use super::params::Params;

/// How long it may take to connect, and to end a connection.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where rumqttc connects to.
pub(super) struct Target {
    /// An address, or the name of a Unix socket.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) transport: Transport,
}

/// Makes the connections to one broker, one at a time.
pub(super) struct BrokerDialer<'a> {
    params: &'a Params,
    outbound: &'a Outbound,
    /// Passes on the bytes of a connection with TLS.
    relay: JoinSet<()>,
    attempts: usize,
}

impl<'a> BrokerDialer<'a> {
    pub(super) fn new(params: &'a Params, outbound: &'a Outbound) -> Self {
        Self { params, outbound, relay: JoinSet::new(), attempts: 0 }
    }

    /// Prepares the next connection. An error says why there is none.
    pub(super) async fn dial(&mut self) -> Result<Target, String> {
        self.relay = JoinSet::new();
        let dialled = tokio::time::timeout(TIMEOUT, async {
            match self.params.tls()? {
                None => self.dial_tcp().await,
                Some(tls) => self.dial_tls(tls).await,
            }
        });
        dialled.await.unwrap_or_else(|_| Err("the broker does not answer".into()))
    }

    /// Each attempt is to the next address.
    async fn dial_tcp(&mut self) -> Result<Target, String> {
        let (host, port) = (&self.params.host, self.params.port());
        let addresses = self.outbound.resolve(host, port).await.map_err(|error| describe(&error))?;
        let address = addresses[self.attempts % addresses.len()];
        self.attempts += 1;
        Ok(Target { host: host_of(address), port, transport: Transport::Tcp })
    }

    async fn dial_tls(&mut self, tls: Arc<ClientConfig>) -> Result<Target, String> {
        let connected = self.outbound.connect(&self.params.host, self.params.port()).await;
        let connection = connected.map_err(|error| describe(&error))?;
        connection.set_nodelay(true).map_err(|error| describe(&error.into()))?;
        let name = ServerName::try_from(self.params.host.clone()).map_err(tls_failed)?;
        let connection = TlsConnector::from(tls).connect(name, connection).await.map_err(tls_failed)?;
        // A name that begins with a zero byte is not a file's.
        let host = format!("\0funless-mqtt-{}", Uuid::new_v4());
        let listener = UnixListener::bind(&host).map_err(tls_failed)?;
        self.relay.spawn(relay(listener, connection));
        Ok(Target { host, port: 0, transport: Transport::Unix })
    }

    /// Waits until everything that was sent on a closed connection has left.
    pub(super) async fn finish(&mut self) {
        let _ = tokio::time::timeout(TIMEOUT, self.relay.join_next()).await;
    }
}

/// Passes on the bytes between this process and the broker, until either side closes the connection.
async fn relay(listener: UnixListener, mut broker: TlsStream<TcpStream>) {
    let Ok((mut client, _)) = listener.accept().await else { return };
    drop(listener);
    let this_process = i32::try_from(std::process::id()).ok();
    if client.peer_cred().ok().and_then(|peer| peer.pid()) != this_process {
        tracing::warn!("another process has connected to a socket of this one; it is disconnected");
        return;
    }
    if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut broker).await {
        tracing::debug!(%error, "the connection to the broker is lost");
    }
}

/// As rumqttc joins it with the port.
fn host_of(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) if v6.scope_id() == 0 => format!("[{}]", v6.ip()),
        SocketAddr::V6(v6) => format!("[{}%{}]", v6.ip(), v6.scope_id()),
    }
}

fn describe(error: &ConnectError) -> String {
    match error {
        ConnectError::Denied(denied) => denied.to_string(),
        ConnectError::Io(error) => format!("cannot reach the broker: {error}"),
    }
}

fn tls_failed(error: impl Display) -> String {
    format!("TLS with the broker failed: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hosts_are_addresses_for_the_client() {
        for address in ["127.0.0.1:1883", "[::1]:1883", "[fe80::1%7]:1883"] {
            let address: SocketAddr = address.parse().expect("an address");
            let found = tokio::net::lookup_host(format!("{}:{}", host_of(address), address.port())).await;
            assert_eq!(found.expect("resolved").collect::<Vec<_>>(), [address]);
        }
    }
}
