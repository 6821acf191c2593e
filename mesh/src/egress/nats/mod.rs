//! Connections to NATS servers, which hold little of what a server sends.
//!
//! The NATS client connects by itself, reads lines and messages of any length into memory, and takes no connection
//! that was made elsewhere. So a connection is made here, and the client is given the address of a relay in this
//! process, which passes on what keeps to the limits. The relay passes nothing on to others: the client shows a
//! one-time token, which the relay replaces by the server's credentials.

mod frames;
mod payloads;
mod relay;

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use url::Url;

use self::frames::Frames;
pub use self::frames::{MAX_LINE_BYTES, Violation};
use self::payloads::Unclaimed;
pub use self::payloads::{HeldPayload, MAX_PAYLOAD_BYTES, Payloads};
use self::relay::{BUFFER_BYTES, Opened, Relay};
use super::{ConnectError, Outbound};
use crate::auth::Secret;

/// Where NATS servers listen.
pub const NATS_PORT: u16 = 4222;
/// How long it may take until a server has introduced itself.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Who connects to a NATS server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NatsUser {
    /// Nobody in particular.
    Anonymous,
    /// Whoever has this token.
    Token(Secret),
    /// A user with a password.
    Named {
        /// The user's name.
        username: String,
        /// The user's password.
        password: Secret,
    },
}

/// A connection to a NATS server, for one client. The connection ends when this is dropped.
#[derive(Debug)]
pub struct NatsConnection {
    port: u16,
    token: Secret,
    violation: watch::Receiver<Option<Violation>>,
    unclaimed: Option<Unclaimed>,
    _relay: JoinSet<()>,
}

impl NatsConnection {
    /// Connects to `nats://host:port` or `tls://host:port`. With either, TLS is used if the server requires it. For a
    /// client that gets messages, `payloads` are those of its binding; it has to [`claim`](Self::claim) them.
    pub async fn open(
        outbound: &Outbound,
        url: &Url,
        user: NatsUser,
        payloads: Option<Payloads>,
    ) -> Result<Self, ConnectError> {
        Self::open_with(outbound, url, user, payloads, crate::tls::web).await
    }

    async fn open_with(
        outbound: &Outbound,
        url: &Url,
        user: NatsUser,
        payloads: Option<Payloads>,
        tls: impl FnOnce() -> ClientConfig,
    ) -> Result<Self, ConnectError> {
        let dialled = tokio::time::timeout(DIAL_TIMEOUT, async {
            let opened = dial(outbound, url, tls).await?;
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            Ok::<_, ConnectError>((opened, listener))
        });
        let silent = || io::Error::new(io::ErrorKind::TimedOut, "the server does not answer");
        let (opened, listener) = dialled.await.map_err(|_| silent())??;
        let port = listener.local_addr()?.port();
        let token = Secret::random();
        let (report, violation) = watch::channel(None);
        let unclaimed = payloads.map(Unclaimed::new);
        let relay = Relay { listener, token: token.clone(), user, report, unclaimed: unclaimed.clone() };
        let mut tasks = JoinSet::new();
        tasks.spawn(relay.run(opened));
        Ok(Self { port, token, violation, unclaimed, _relay: tasks })
    }

    /// The address for the client, `nats://host:port`.
    pub fn address(&self) -> String {
        format!("nats://{}:{}", Ipv4Addr::LOCALHOST, self.port)
    }

    /// The token for the client.
    pub fn token(&self) -> &Secret {
        &self.token
    }

    /// A message that the client has handed over: the bytes of its subjects, headers and payload. It counts until it is
    /// dropped.
    pub fn claim(&self, bytes: usize) -> Option<HeldPayload> {
        self.unclaimed.as_ref().map(|unclaimed| unclaimed.claim(bytes))
    }

    /// Why the connection was ended here.
    pub fn violation(&self) -> Option<Violation> {
        self.violation.borrow().clone()
    }

    /// Waits until the connection is ended here, and returns why.
    pub async fn violated(&self) -> Violation {
        match self.violation.clone().wait_for(Option::is_some).await.map(|violation| violation.clone()) {
            Ok(Some(violation)) => violation,
            // The relay is gone without one.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }
}

impl From<Violation> for ConnectError {
    fn from(violation: Violation) -> Self {
        Self::Io(io::Error::new(io::ErrorKind::InvalidData, violation))
    }
}

/// Connects, and reads the server's INFO.
async fn dial(
    outbound: &Outbound,
    url: &Url,
    tls: impl FnOnce() -> ClientConfig,
) -> Result<Opened, ConnectError> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let mut stream = outbound.connect(host, url.port().unwrap_or(NATS_PORT)).await?;
    stream.set_nodelay(true)?;
    let (mut frames, mut greeting) = (Frames::default(), Vec::new());
    let mut buffer = vec![0; BUFFER_BYTES];
    let info = loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            let ended = "the server ended the connection before its INFO";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, ended).into());
        }
        frames.pass(&buffer[..read], &mut greeting)?;
        if let Some(info) = frames.info() {
            break info;
        }
    };
    let uses_tls = info.requires_tls || url.scheme() == "tls";
    let stream: Box<dyn Stream> = if uses_tls {
        if !frames.has_only_info() {
            // Whoever is in between could have added it.
            return Err(Violation::BeforeTls.into());
        }
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        Box::new(TlsConnector::from(Arc::new(tls())).connect(name, stream).await.map_err(tls_failed)?)
    } else {
        Box::new(stream)
    };
    Ok(Opened { stream, uses_tls, frames, greeting })
}

fn tls_failed(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("TLS failed: {error}"))
}

/// A connection, with or without TLS.
trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

#[cfg(test)]
mod tests;
