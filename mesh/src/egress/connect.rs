//! A connection to one of several addresses.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an address may take before the next one is tried beside it, as RFC 8305 recommends.
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// Connects to whichever address answers first. They are tried in their order, and one that does not answer does not
/// hold up the next.
pub(super) async fn connect_to_any(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut attempts = FuturesUnordered::new();
    let mut addresses = addresses.iter();
    let mut failure = io::Error::other("no address");
    loop {
        attempts.extend(addresses.next().map(TcpStream::connect));
        match timeout(NEXT_ADDRESS_AFTER, attempts.next()).await {
            Ok(Some(Ok(stream))) => return Ok(stream),
            Ok(Some(Err(error))) => failure = error,
            Ok(None) => return Err(failure),
            Err(_elapsed) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    /// A listener that lets connections wait without an answer, as a host behind a firewall does.
    struct Silent {
        address: SocketAddr,
        _listener: TcpListener,
        _waiting: Vec<TcpStream>,
    }

    impl Silent {
        async fn new() -> io::Result<Self> {
            let socket = TcpSocket::new_v4()?;
            socket.bind(([127, 0, 0, 1], 0).into())?;
            let listener = socket.listen(0)?;
            let address = listener.local_addr()?;
            let mut waiting = Vec::new();
            // Nobody accepts. When the queue is full, the kernel drops what else arrives.
            while let Ok(connected) = timeout(Duration::from_millis(100), TcpStream::connect(address)).await {
                waiting.push(connected?);
            }
            Ok(Self { address, _listener: listener, _waiting: waiting })
        }
    }

    #[tokio::test]
    async fn the_first_address_that_answers_is_connected_to() -> io::Result<()> {
        let silent = Silent::new().await?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let there = listener.local_addr()?;
        let gone = TcpListener::bind(("127.0.0.1", 0)).await?.local_addr()?;
        for addresses in [vec![there], vec![gone, there], vec![silent.address, gone, there]] {
            assert_eq!(connect_to_any(&addresses).await?.peer_addr()?, there, "{addresses:?}");
        }
        Ok(())
    }

    #[tokio::test]
    async fn it_fails_when_no_address_answers() -> io::Result<()> {
        let gone = TcpListener::bind(("127.0.0.1", 0)).await?.local_addr()?;
        let refused = connect_to_any(&[gone, gone]).await.map_err(|error| error.kind());
        assert_eq!(refused.err(), Some(io::ErrorKind::ConnectionRefused));
        assert!(connect_to_any(&[]).await.is_err());
        let silent = Silent::new().await?;
        assert!(timeout(2 * NEXT_ADDRESS_AFTER, connect_to_any(&[silent.address])).await.is_err());
        Ok(())
    }
}
