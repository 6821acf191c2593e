//! The addresses of clients, and how many connections each may have.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use prometheus::{IntCounter, Registry};

use crate::keyed_limit::{KeyedLimit, KeyedPermit};
use crate::metrics::int_counter;

/// The network bits of an IPv6 address. One client usually has all addresses of such a network.
const IPV6_NETWORK: u128 = !0 << 64;

/// The address of a client over TCP: its IPv4 address, or its IPv6 /64 network. An extension of each of its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddress(IpAddr);

impl From<IpAddr> for ClientAddress {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & IPV6_NETWORK).into(),
            address @ IpAddr::V4(_) => address,
        })
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(network) => write!(f, "{network}/64"),
        }
    }
}

/// Limits how many connections one address may have. Clones share the limit. The default is no limit.
#[derive(Debug, Clone)]
pub struct ConnectionLimit {
    connections: KeyedLimit<ClientAddress>,
    refused: Option<IntCounter>,
}

impl Default for ConnectionLimit {
    fn default() -> Self {
        Self { connections: KeyedLimit::new(0), refused: None }
    }
}

impl ConnectionLimit {
    /// Limits the connections of each address to `max`; 0 means no limit.
    pub fn new(max: usize, metrics: &Registry) -> Self {
        let no_labels: &[&str] = &[];
        let refused = int_counter(
            metrics,
            "funless_connections_refused_total",
            "Connections that were closed at once because their address had too many.",
            no_labels,
        );
        Self { connections: KeyedLimit::new(max), refused: Some(refused.with_label_values(no_labels)) }
    }

    /// Counts a connection of `address` until the returned value is dropped; `None` if it is one too many.
    pub(super) fn admit(&self, address: ClientAddress) -> Option<CountedConnection> {
        let permit = self.connections.try_acquire(&address);
        if permit.is_none() {
            tracing::debug!(%address, max = self.connections.max(), "an address has too many connections; another one is closed");
            self.refused.iter().for_each(IntCounter::inc);
        }
        permit.map(|permit| CountedConnection { address, _permit: permit })
    }
}

/// An open connection, counted until this is dropped.
#[derive(Debug)]
pub(super) struct CountedConnection {
    address: ClientAddress,
    _permit: KeyedPermit<ClientAddress>,
}

impl CountedConnection {
    /// The address of its client.
    pub(super) fn address(&self) -> ClientAddress {
        self.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> ClientAddress {
        text.parse::<IpAddr>().expect("an address").into()
    }

    #[test]
    fn one_client_has_one_address() {
        for (text, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8:1:2::", "2001:db8:1:2::/64"),
            ("2001:db8:1:3::", "2001:db8:1:3::/64"),
            ("::1", "::/64"),
        ] {
            assert_eq!(address(text).to_string(), expected, "{text}");
        }
    }

    #[test]
    fn connections_are_limited_by_address() {
        let limit = ConnectionLimit::new(2, &Registry::new());
        let first = limit.admit(address("192.0.2.1")).expect("the first");
        let _second = limit.admit(address("192.0.2.1")).expect("the second");
        assert!(limit.admit(address("192.0.2.1")).is_none());
        assert!(limit.admit(address("192.0.2.2")).is_some(), "another address");
        assert_eq!(limit.refused.as_ref().map(IntCounter::get), Some(1));
        drop(first);
        assert!(limit.admit(address("192.0.2.1")).is_some(), "one has ended");
        assert_eq!(limit.connections.keys(), 1, "addresses without connections are forgotten");
        let unlimited = ConnectionLimit::new(0, &Registry::new());
        let open: Vec<_> = (0..5000).map(|_| unlimited.admit(address("::1"))).collect();
        assert!(open.iter().all(Option::is_some));
    }
}
