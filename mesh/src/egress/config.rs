//! The configuration of egress.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use url::Url;

use super::rule::{Ports, Rule};

/// The default ports of the services and their admin ports.
const DEFAULT_MESH_PORTS: [Ports; 3] = [Ports::range(4000, 4005), Ports::one(4010), Ports::range(4100, 4105)];

/// The table `egress` of worker, connector and sink: what functions, event sources and sinks may connect to. Every
/// public address is allowed by default. Loopback, link-local, private, unique-local and other special addresses,
/// metadata services of clouds, and the mesh's own ports are denied. Rules are `HOST` or `HOST:PORTS`, where `HOST`
/// is a name, `*.` and a domain, an address, a CIDR block or `*`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EgressConfig {
    /// Allows what is denied by default, such as `["10.0.0.0/8:5984", "mqtt.lan:1883"]`. Default: none. A rule with a
    /// name allows loopback, private and unique-local addresses that the name resolves to. Addresses of metadata
    /// services and other special addresses must be written as addresses, and one of the mesh's own ports must be
    /// named.
    pub allow: Vec<Rule>,
    /// Denies what is allowed by default or by `allow`. Default: none.
    pub deny: Vec<Rule>,
    /// Denies everything else, if it is not empty. Default: empty.
    pub only: Vec<Rule>,
    /// Ports of the mesh, as numbers or as `"FIRST-LAST"`. They are denied at addresses that are not public and at
    /// those of this machine, unless a rule in `allow` names the port. The ports of this service and of those that it
    /// calls are always among them. Default: `["4000-4005", 4010, "4100-4105"]`.
    pub mesh_ports: Vec<Ports>,
    /// The HTTP proxy for requests of functions and for HTTP sinks: `http://host:port`. It resolves the names, so it
    /// has to deny addresses itself; here, only addresses in URLs, names, and what names resolve to on this machine are
    /// checked. Default: none; the environment's is not used.
    pub proxy: Option<ProxyUrl>,
    /// What is connected to without the proxy: rules with names and addresses, as in URLs. Default: none.
    pub no_proxy: Vec<Rule>,
    /// Further restrictions by module: tables `[egress.modules.NAME]` with `deny` and `only`.
    pub modules: BTreeMap<String, Restriction>,
    /// Further restrictions by function: tables `[egress.functions."MODULE/NAME"]` with `deny` and `only`.
    pub functions: BTreeMap<String, Restriction>,
}

impl Default for EgressConfig {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            deny: Vec::new(),
            only: Vec::new(),
            mesh_ports: DEFAULT_MESH_PORTS.into(),
            proxy: None,
            no_proxy: Vec::new(),
            modules: BTreeMap::new(),
            functions: BTreeMap::new(),
        }
    }
}

/// What the functions of a module, or one function, may not connect to although the mesh allows it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Restriction {
    /// Denied. Default: none.
    pub deny: Vec<Rule>,
    /// Denies everything else, if it is not empty. Default: empty.
    pub only: Vec<Rule>,
}

/// The URL of an HTTP proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl(Url);

impl ProxyUrl {
    /// The URL.
    pub(super) fn url(&self) -> &Url {
        &self.0
    }
}

/// Without user and password.
impl std::fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.origin().ascii_serialization())
    }
}

impl<'de> Deserialize<'de> for ProxyUrl {
    /// The error for an invalid URL does not contain the URL, which may hold a password.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let url = Url::parse(&String::deserialize(deserializer)?).ok();
        let url = url.filter(|url| url.scheme() == "http" && url.has_host() && url.path() == "/");
        url.map(Self).ok_or_else(|| serde::de::Error::custom("expected the URL of a proxy: http://host:port"))
    }
}

impl EgressConfig {
    /// Checks what the types cannot express. An error names the key.
    pub fn validate(&self) -> Result<(), String> {
        if let Some(name) = self.functions.keys().find(|name| !name.contains('/')) {
            return Err(format!("egress.functions.{name}: expected MODULE/NAME"));
        }
        if let Some(name) = self.modules.keys().find(|name| name.contains('/')) {
            return Err(format!("egress.modules.{name}: expected the name of a module"));
        }
        if self.proxy.is_none() && !self.no_proxy.is_empty() {
            return Err("egress.no_proxy: expected egress.proxy with it".into());
        }
        Ok(())
    }

    /// The restrictions of a function, given as `module/name`, and their keys.
    pub(super) fn restrictions(&self, function: &str) -> impl Iterator<Item = (String, &Restriction)> {
        let module = function.split_once('/').map_or("", |(module, _)| module);
        let of_module = self.modules.get_key_value(module);
        let of_module = of_module.map(|(name, it)| (format!("egress.modules.{name}"), it));
        let of_function = self.functions.get_key_value(function);
        of_module.into_iter().chain(of_function.map(|(name, it)| (format!("egress.functions.{name:?}"), it)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<EgressConfig, String> {
        let config: EgressConfig = serde_json::from_str(json).map_err(|error| error.to_string())?;
        config.validate().map(|()| config)
    }

    #[test]
    fn errors_say_what_is_expected() {
        assert!(
            read(r#"{"allow":["10.0.0.0/8:5984"],"proxy":"http://proxy:3128","no_proxy":["*.lan"]}"#).is_ok()
        );
        for (json, expected) in [
            (r#"{"allow":["a b"]}"#, "is not a valid host name"),
            (r#"{"permit":[]}"#, "unknown field `permit`"),
            (r#"{"functions":{"hello":{}}}"#, "egress.functions.hello: expected MODULE/NAME"),
            (r#"{"modules":{"a/b":{}}}"#, "egress.modules.a/b: expected the name of a module"),
            (r#"{"modules":{"a":{"allow":[]}}}"#, "unknown field `allow`"),
            (r#"{"no_proxy":["h"]}"#, "egress.no_proxy: expected egress.proxy"),
            (r#"{"proxy":"socks5://u:hunter2@h"}"#, "expected the URL of a proxy: http://host:port"),
        ] {
            let error = read(json).expect_err(json);
            assert!(error.contains(expected) && !error.contains("hunter2"), "{error:?} says {expected:?}");
        }
    }

    #[test]
    fn the_password_of_a_proxy_is_not_shown() {
        let config = read(r#"{"proxy":"http://u:hunter2@proxy:3128"}"#).expect("valid");
        assert!(format!("{config:?}").contains("http://proxy:3128"));
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
