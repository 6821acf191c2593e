//! The decision: may a function connect to a host at an address?

use std::net::{IpAddr, UdpSocket};

use super::class::AddressClass;
use super::config::EgressConfig;
use super::rule::{Ports, normalized};

/// A connection that is denied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("egress to {destination} is denied: {reason}")]
pub struct Denied {
    /// Host and port as they were asked for.
    pub(super) destination: String,
    /// The address that the host has resolved to.
    pub(super) address: Option<IpAddr>,
    reason: DenyReason,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum DenyReason {
    #[error("it is {}; to allow it, add {rule:?} to egress.allow", class.description())]
    Class { class: AddressClass, rule: String },
    #[error("it is one of the mesh's own ports; to allow it, add {rule:?} to egress.allow")]
    MeshPort { rule: String },
    #[error("{key}.deny has the rule {rule:?}")]
    Rule { key: String, rule: String },
    #[error("no rule in {key}.only allows it")]
    NotListed { key: String },
}

/// What is connected to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Destination<'a> {
    /// The function that connects, or whose binding does: `module/name`.
    pub(super) function: &'a str,
    /// A name or an address, with or without brackets.
    pub(super) host: &'a str,
    pub(super) port: u16,
    /// Absent if it is not known: then only the rules for names decide.
    pub(super) address: Option<IpAddr>,
}

/// Decides by the configuration. `mesh_ports` are the mesh's own ports.
pub(super) fn decide(
    config: &EgressConfig,
    mesh_ports: &[Ports],
    destination: Destination<'_>,
) -> Result<(), Denied> {
    let host = normalized(destination.host);
    reason(config, mesh_ports, &host, destination).map_or(Ok(()), |reason| {
        let brackets = if host.contains(':') { ("[", "]") } else { ("", "") };
        Err(Denied {
            destination: format!("{}{host}{}:{}", brackets.0, brackets.1, destination.port),
            address: destination.address,
            reason,
        })
    })
}

/// Why it is denied.
fn reason(
    config: &EgressConfig,
    mesh_ports: &[Ports],
    host: &str,
    Destination { function, port, address, .. }: Destination<'_>,
) -> Option<DenyReason> {
    let mesh = ("egress".to_owned(), &config.deny, &config.only);
    let restrictions = config.restrictions(function).map(|(key, it)| (key, &it.deny, &it.only));
    for (key, deny, only) in [mesh].into_iter().chain(restrictions) {
        if let Some(rule) = deny.iter().find(|rule| rule.matches(host, port, address)) {
            return Some(DenyReason::Rule { key, rule: rule.to_string() });
        }
        if !only.is_empty() && !only.iter().any(|rule| rule.matches(host, port, address)) {
            return Some(DenyReason::NotListed { key });
        }
    }
    let address = address?.to_canonical();
    let class = AddressClass::of(address);
    let mut allowing = config.allow.iter().filter(|rule| {
        let opens = class.opens_by_name() || rule.is_of_addresses();
        opens && rule.matches(host, port, Some(address))
    });
    let is_mesh_port = mesh_ports.iter().any(|ports| ports.contains(port))
        && (class != AddressClass::Public || is_of_this_machine(address));
    if is_mesh_port {
        let is_allowed = allowing.any(|rule| rule.names_port(port));
        return (!is_allowed).then(|| DenyReason::MeshPort { rule: rule_for(address, port) });
    }
    if class == AddressClass::Public || allowing.next().is_some() {
        return None;
    }
    let is_name = host.parse::<IpAddr>().is_err() && class.opens_by_name();
    let rule = if is_name { format!("{host}:{port}") } else { rule_for(address, port) };
    Some(DenyReason::Class { class, rule })
}

/// The narrowest rule for an address.
fn rule_for(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}

/// Whether packets to this address stay on this machine: only its own addresses can be bound.
fn is_of_this_machine(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(config: &str, function: &str, host: &str, port: u16, address: &str) -> String {
        let config: EgressConfig = serde_json::from_str(config).expect("valid");
        let address = address.parse().ok();
        let destination = Destination { function, host, port, address };
        match decide(&config, &config.mesh_ports.clone(), destination) {
            Ok(()) => "allowed".into(),
            Err(denied) => denied.to_string(),
        }
    }

    #[test]
    fn what_is_denied_by_default() {
        for (host, port, address, expected) in [
            ("example.org", 443, "93.184.215.14", "allowed"),
            ("example.org", 4000, "93.184.215.14", "allowed"),
            ("example.org", 443, "", "allowed"),
            (
                "LOCALHOST.",
                80,
                "127.0.0.1",
                "egress to localhost:80 is denied: it is a loopback address; to allow it, add \"localhost:80\" to \
                 egress.allow",
            ),
            (
                "[::ffff:10.0.0.1]",
                80,
                "::ffff:10.0.0.1",
                "egress to [::ffff:10.0.0.1]:80 is denied: it is a private address; to allow it, add \
                 \"10.0.0.1:80\" to egress.allow",
            ),
            (
                "metadata.example",
                80,
                "169.254.169.254",
                "egress to metadata.example:80 is denied: it is the address of a cloud's metadata service; to allow \
                 it, add \"169.254.169.254:80\" to egress.allow",
            ),
            (
                "h",
                4101,
                "127.0.0.2",
                "egress to h:4101 is denied: it is one of the mesh's own ports; to allow it, add \"127.0.0.2:4101\" \
                 to egress.allow",
            ),
        ] {
            assert_eq!(decided("{}", "m/f", host, port, address), expected, "{host}:{port} {address}");
        }
    }

    #[test]
    fn rules_of_the_mesh() {
        let allow = r#"{"allow":["127.0.0.0/8","couchdb.lan:5984","*.svc"],"mesh_ports":[4000]}"#;
        let exact = r#"{"allow":["127.0.0.1:4000","127.0.0.0/8:1-65535"],"mesh_ports":["3999-4001"]}"#;
        let deny = r#"{"allow":["10.0.0.0/8"],"deny":["10.1.0.0/16","bad.example:443","*:25"]}"#;
        let only = r#"{"allow":["10.0.0.0/8"],"only":["*.example.org","10.0.0.0/8:5984"]}"#;
        for (config, host, port, address, is_allowed) in [
            (allow, "localhost", 5984, "127.0.0.1", true),
            (allow, "localhost", 4000, "127.0.0.1", false),
            (allow, "0.0.0.0", 5984, "0.0.0.0", false),
            (allow, "::1", 5984, "::1", false),
            (allow, "couchdb.lan", 5984, "192.168.1.7", true),
            (allow, "couchdb.lan", 5985, "192.168.1.7", false),
            (allow, "couchdb.lan", 5984, "169.254.169.254", false),
            (allow, "a.svc", 80, "fd00::7", true),
            (allow, "a.svc", 4000, "fd00::7", false),
            (allow, "192.168.1.7", 5984, "192.168.1.7", false),
            (exact, "localhost", 4000, "127.0.0.1", true),
            (exact, "localhost", 4001, "127.0.0.1", false),
            (exact, "localhost", 80, "127.0.0.1", true),
            (deny, "h", 80, "10.2.0.1", true),
            (deny, "h", 80, "::ffff:10.1.2.3", false),
            (deny, "bad.example", 443, "8.8.8.8", false),
            (deny, "bad.example", 443, "", false),
            (deny, "good.example", 25, "8.8.8.8", false),
            (only, "a.example.org", 443, "8.8.8.8", true),
            (only, "a.example.org", 443, "", true),
            (only, "a.example.com", 443, "8.8.8.8", false),
            (only, "h", 5984, "10.0.0.1", true),
            (only, "a.example.org", 443, "127.0.0.1", false),
        ] {
            let decision = decided(config, "m/f", host, port, address);
            assert_eq!(decision == "allowed", is_allowed, "{config} {host}:{port} {address}: {decision}");
        }
    }

    #[test]
    fn restrictions_of_modules_and_functions() {
        let config = r#"{
            "modules": { "shop": { "only": ["*.example.org"] } },
            "functions": { "shop/order": { "deny": ["b.example.org"] }, "_/hello": { "only": ["c.example.org"] } }
        }"#;
        for (function, host, expected) in [
            ("other/order", "h", "allowed"),
            ("shop/list", "b.example.org", "allowed"),
            ("shop/list", "h", "egress to h:443 is denied: no rule in egress.modules.shop.only allows it"),
            ("shop/order", "a.example.org", "allowed"),
            (
                "shop/order",
                "b.example.org",
                "egress to b.example.org:443 is denied: egress.functions.\"shop/order\".deny has the rule \
                 \"b.example.org\"",
            ),
            ("shop/order", "h", "egress to h:443 is denied: no rule in egress.modules.shop.only allows it"),
            ("_/hello", "c.example.org", "allowed"),
            (
                "_/hello",
                "d.example.org",
                "egress to d.example.org:443 is denied: no rule in egress.functions.\"_/hello\".only allows it",
            ),
        ] {
            assert_eq!(decided(config, function, host, 443, "8.8.8.8"), expected, "{function} {host}");
        }
        let private = decided(config, "shop/list", "a.example.org", 443, "10.0.0.1");
        assert!(private.contains("it is a private address"), "restrictions allow nothing: {private}");
    }

    #[test]
    fn addresses_of_this_machine() {
        assert!(is_of_this_machine("127.0.0.1".parse().expect("an address")));
        assert!(!is_of_this_machine("93.184.215.14".parse().expect("an address")));
    }
}
