//! Destinations that egress policies deny by default, and names that resolve to them.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::egress::{EgressConfig, Resolver};

/// Hosts in URLs that are denied by default, whatever the port: special addresses in all of their forms, and names
/// from [`resolver`].
pub const DENIED_URL_HOSTS: [&str; 33] = [
    "127.0.0.1",
    "127.1",
    "127.255.255.254",
    "0x7f000001",
    "0x7f.0.0.1",
    "2130706433",
    "017700000001",
    "0177.0.0.01",
    "0",
    "0.0.0.0",
    "[::]",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "169.254.169.254",
    "0xa9fea9fe",
    "[::ffff:169.254.169.254]",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "[fd12:3456::1]",
    "100.64.0.1",
    "localhost",
    "LOCALHOST.",
    "private.example",
    "metadata.example",
    "mapped.example",
];

/// Hosts, as brokers' parameters give them, that are denied by default.
pub const DENIED_BROKER_HOSTS: [&str; 15] = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "::1",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
    "169.254.169.254",
    "fe80::1",
    "10.0.0.1",
    "fd12:3456::1",
    "100.64.0.1",
    "localhost",
    "private.example",
    "metadata.example",
    "mapped.example",
];

/// Resolves some names, each to the next of its answers, and then to the last one for ever. Other names are looked up.
/// `localhost` and the names `private.example`, `metadata.example` and `mapped.example` are among them.
pub fn resolver(answers: &[(&str, &[&str])]) -> Resolver {
    let fixed: [(&str, &[&str]); 4] = [
        ("localhost", &["127.0.0.1"]),
        ("private.example", &["10.0.0.1"]),
        ("metadata.example", &["169.254.169.254"]),
        ("mapped.example", &["::ffff:127.0.0.1"]),
    ];
    let answers = fixed.iter().chain(answers).map(|(name, answers)| {
        let mut answers: Vec<_> =
            answers.iter().map(|address| address.parse().expect("an address")).collect();
        answers.reverse();
        ((*name).to_owned(), answers)
    });
    let answers: HashMap<String, Vec<std::net::IpAddr>> = answers.collect();
    let answers = Arc::new(Mutex::new(answers));
    Resolver::new(move |host| {
        let next = answers.lock().get_mut(host.trim_end_matches('.')).and_then(|answers| match answers[..] {
            [only] => Some(only),
            _ => answers.pop(),
        });
        async move {
            match next {
                Some(address) => Ok(vec![SocketAddr::new(address, 0)]),
                // It may have a zone.
                None if host.contains(':') || host.parse::<std::net::IpAddr>().is_ok() => {
                    Ok(tokio::net::lookup_host((host.as_str(), 0)).await?.collect())
                }
                None => Err(io::Error::other(format!("{host} does not exist"))),
            }
        }
    })
}

/// A policy that allows loopback, where tests have their servers.
pub fn loopback() -> EgressConfig {
    let allow = ["127.0.0.0/8", "::1"].map(|rule| rule.parse().expect("a rule"));
    EgressConfig { allow: allow.into(), ..EgressConfig::default() }
}
