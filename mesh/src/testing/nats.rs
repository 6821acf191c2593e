//! A NATS server that means harm.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::eventually;

/// What it sends to each client, unless the client stops reading.
const TOTAL_BYTES: usize = 300 << 20;
/// How many looks have to find that nothing was sent.
const STALLED_LOOKS: u32 = 20;

/// A server that reads nothing, and sends the same for long.
#[derive(Debug)]
pub struct HostileNats {
    /// Its port on loopback.
    pub port: u16,
    most_sent: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl HostileNats {
    /// It greets each client with `start`, and then sends `more` again and again.
    pub async fn start(start: &'static str, more: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let most_sent = Arc::new(AtomicUsize::new(0));
        let (most, mut task) = (Arc::clone(&most_sent), JoinSet::new());
        let more = more.repeat((64 << 10) / more.len());
        task.spawn(async move {
            let mut clients = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                clients.spawn(send(client, start, more.clone(), Arc::clone(&most)));
            }
        });
        Self { port, most_sent, _task: task }
    }

    /// Waits until a client has stopped reading, though it could get more.
    pub async fn stalls(&self) {
        let (mut former, mut looks) = (0, 0);
        let stalls = || {
            let sent = self.most_sent.load(Ordering::Relaxed);
            looks = if sent == former && (1..TOTAL_BYTES).contains(&sent) { looks + 1 } else { 0 };
            former = sent;
            std::future::ready(looks == STALLED_LOOKS)
        };
        eventually("the client stops reading", stalls).await;
    }

    /// Asserts that no client has read it all, or much of it.
    pub fn assert_few_read(&self) {
        let sent = self.most_sent.load(Ordering::Relaxed);
        // The system's buffers take some.
        assert!((1..TOTAL_BYTES / 4).contains(&sent), "{sent} bytes are sent");
    }
}

async fn send(mut client: TcpStream, start: &str, more: String, most: Arc<AtomicUsize>) {
    let mut sent = 0;
    let mut next = start.as_bytes();
    while sent < TOTAL_BYTES && client.write_all(next).await.is_ok() {
        sent += next.len();
        most.fetch_max(sent, Ordering::Relaxed);
        next = more.as_bytes();
    }
}
