//! What is between the client and the server.

use std::io;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::frames::Frames;
use super::payloads::Unclaimed;
use super::{MAX_LINE_BYTES, NatsUser, Stream, Violation};
use crate::auth::Secret;

/// How much is read at once.
pub(super) const BUFFER_BYTES: usize = 32 << 10;
/// How long a client may take to show its token.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait after a connection could not be accepted.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// Clients that may try to show a token at once.
const MAX_CLIENTS: usize = 16;

/// A server that has sent its INFO.
pub(super) struct Opened {
    pub(super) stream: Box<dyn Stream>,
    pub(super) uses_tls: bool,
    pub(super) frames: Frames,
    /// What passes of what it has sent.
    pub(super) greeting: Vec<u8>,
}

/// Accepts one client, and passes on the bytes between it and a server.
pub(super) struct Relay {
    pub(super) listener: TcpListener,
    /// What the client shows.
    pub(super) token: Secret,
    /// Whom the server knows.
    pub(super) user: NatsUser,
    pub(super) report: watch::Sender<Option<Violation>>,
    pub(super) unclaimed: Option<Unclaimed>,
}

/// A client that has introduced itself.
struct Client {
    stream: TcpStream,
    /// Its first line, a CONNECT for the server.
    connect: String,
    /// What it has sent after that.
    more: Vec<u8>,
}

impl Relay {
    /// Ends only with its task: as long as the client exists, nobody else listens where it connects to.
    pub(super) async fn run(self, opened: Opened) {
        let mut client = self.client(&opened).await;
        // The client is there until the report is.
        match forward(&mut client, opened, self.unclaimed.as_ref()).await {
            Ok(()) => {}
            Err(Failure::Violation(violation)) => drop(self.report.send_replace(Some(violation))),
            Err(Failure::Io(error)) => tracing::debug!(%error, "the connection to a NATS server is lost"),
        }
        drop(client);
        loop {
            // The client has lost its connection and tries again; a new one is made elsewhere.
            drop(self.accept().await);
        }
    }

    /// Accepts a connection. Without files for it, for example, the next one may succeed.
    async fn accept(&self) -> TcpStream {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => return stream,
                Err(error) => {
                    tracing::warn!(%error, "a relay of NATS cannot accept a connection; trying again");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    /// Waits for the client with the token. Others are disconnected.
    async fn client(&self, opened: &Opened) -> Client {
        let mut clients = JoinSet::new();
        loop {
            tokio::select! {
                stream = self.accept(), if clients.len() < MAX_CLIENTS => {
                    let introduced = introduce(stream, opened.greeting.clone());
                    clients.spawn(tokio::time::timeout(CLIENT_TIMEOUT, introduced));
                }
                Some(introduced) = clients.join_next() => {
                    let Ok(Ok(Ok(mut client))) = introduced else { continue };
                    match self.connect_line(&client.connect, opened.uses_tls) {
                        Some(connect) => {
                            client.connect = connect;
                            return client;
                        }
                        None => tracing::warn!("a stranger has connected to a relay of NATS; it is disconnected"),
                    }
                }
            }
        }
    }

    /// The CONNECT line for the server. `None` if the client has not shown the token.
    fn connect_line(&self, line: &str, uses_tls: bool) -> Option<String> {
        let mut options: Map<String, Value> = serde_json::from_str(line.strip_prefix("CONNECT ")?).ok()?;
        let is_client =
            options.remove("auth_token")?.as_str().is_some_and(|token| self.token.is(token.as_bytes()));
        if !is_client {
            return None;
        }
        match &self.user {
            NatsUser::Anonymous => {}
            NatsUser::Token(token) => drop(options.insert("auth_token".into(), token.expose().into())),
            NatsUser::Named { username, password } => {
                options.insert("user".into(), username.as_str().into());
                options.insert("pass".into(), password.expose().into());
            }
        }
        options.insert("tls_required".into(), uses_tls.into());
        Some(format!("CONNECT {}\r\n", Value::Object(options)))
    }
}

/// Greets a client as the server does, and reads its first line.
async fn introduce(mut stream: TcpStream, greeting: Vec<u8>) -> io::Result<Client> {
    stream.set_nodelay(true)?;
    stream.write_all(&greeting).await?;
    let mut read = Vec::new();
    loop {
        if let Some(end) = read.iter().position(|byte| *byte == b'\n') {
            let more = read.split_off(end + 1);
            let connect = String::from_utf8(read).map_err(io::Error::other)?;
            return Ok(Client { stream, connect, more });
        }
        if read.len() > MAX_LINE_BYTES || stream.read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

/// Why a connection has failed.
enum Failure {
    Violation(Violation),
    Io(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Passes on the bytes, until either side closes its connection. While a server does not read, nothing is read from it:
/// the client would keep its answers. Nor is anything read while there is no room for payloads.
async fn forward(client: &mut Client, opened: Opened, unclaimed: Option<&Unclaimed>) -> Result<(), Failure> {
    let Opened { stream: mut server, mut frames, .. } = opened;
    let Client { stream: client, connect, more } = client;
    server.write_all(&[connect.as_bytes(), more].concat()).await?;
    server.flush().await?;
    let (mut from_server, mut from_client) = (vec![0; BUFFER_BYTES], vec![0; BUFFER_BYTES]);
    let mut passed = Vec::new();
    loop {
        let from_server = async {
            if let Some(unclaimed) = unclaimed {
                unclaimed.room().await;
            }
            let read = server.read(&mut from_server).await?;
            Ok::<_, io::Error>(&from_server[..read])
        };
        tokio::select! {
            bytes = from_server => {
                let bytes = bytes?;
                passed.clear();
                let payloads = frames.pass(bytes, &mut passed).map_err(Failure::Violation)?;
                if let Some(unclaimed) = unclaimed {
                    unclaimed.add(payloads);
                }
                client.write_all(&passed).await?;
                if bytes.is_empty() {
                    return Ok(());
                }
            }
            read = client.read(&mut from_client) => {
                let read = read?;
                server.write_all(&from_client[..read]).await?;
                server.flush().await?;
                if read == 0 {
                    return Ok(());
                }
            }
        }
    }
}
