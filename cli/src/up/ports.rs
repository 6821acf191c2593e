//! The ports of a mesh of processes.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::Context as _;
use mesh::config::AdminListen;
use rand::RngExt as _;
use tokio::time::Instant;

const POLL: Duration = Duration::from_millis(50);

/// The admin ports of the services: the first is the gateway's, and the others follow.
pub struct AdminPorts {
    next: Option<SocketAddr>,
}

impl AdminPorts {
    /// Those from `first` on.
    pub fn new(first: &AdminListen) -> anyhow::Result<Self> {
        match first {
            AdminListen::At(first) => Ok(Self { next: Some(*first) }),
            AdminListen::Off | AdminListen::Beside => {
                anyhow::bail!(
                    "--admin off: `fl up --mesh` asks the services at their admin ports whether they are ready"
                )
            }
        }
    }

    /// The next one.
    pub fn take(&mut self) -> anyhow::Result<SocketAddr> {
        let address = self.next.context("--admin: too few ports follow; choose a lower one")?;
        let following = address.port().checked_add(1);
        self.next = following.map(|port| SocketAddr::new(address.ip(), port));
        Ok(address)
    }
}

/// Ports of the loopback interface that are free now, each given out once. They are below the range that
/// outgoing connections use, so that none of these takes the port of a service that starts again.
#[derive(Default)]
pub struct FreePorts {
    taken: BTreeSet<u16>,
}

impl FreePorts {
    const RANGE: RangeInclusive<u16> = 10_000..=19_999;
    const ATTEMPTS: usize = 1000;

    /// Another one.
    pub fn take(&mut self) -> anyhow::Result<SocketAddr> {
        for _ in 0..Self::ATTEMPTS {
            let port = rand::rng().random_range(Self::RANGE);
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            if !self.taken.contains(&port) && TcpListener::bind(address).is_ok() {
                self.taken.insert(port);
                return Ok(address);
            }
        }
        anyhow::bail!("no free port on loopback from {} to {}", Self::RANGE.start(), Self::RANGE.end())
    }
}

/// Refuses an address that is taken, which a supervised service would fail on again and again. Waits for it for
/// `patience`. An error says whose address it is, and which flag chooses another.
pub async fn must_be_free(
    address: SocketAddr,
    whose: &str,
    flag: &str,
    patience: Duration,
) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        match TcpListener::bind(address) {
            Ok(_) => return Ok(()),
            Err(error) if start.elapsed() >= patience => {
                anyhow::bail!(
                    "{whose}: cannot listen on {address}: {error}; choose another address with {flag}"
                )
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}
