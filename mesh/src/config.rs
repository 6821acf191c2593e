//! Configuration from a file, the environment and flags.
//!
//! Every service uses the same precedence; later sources win:
//!
//! 1. the defaults in the service's `config.rs`
//! 2. the TOML file named by `--config`
//! 3. the environment: `FUNLESS_<SERVICE>_<KEY>`, with `__` where the file has a table, such as
//!    `FUNLESS_REGISTRY_SERVER__LISTEN`; or `FUNLESS_<SERVICE>_<KEY>_FILE`, which names a file with the value
//! 4. flags: `--set KEY=VALUE`, with `.` where the file has a table, such as
//!    `--set server.listen=127.0.0.1:4001`
//!
//! An unknown key or a value of the wrong type is an error before any port is opened. So is a `FUNLESS_...`
//! variable that belongs to no service, since it would have no effect.

mod files;

use std::net::SocketAddr;
use std::path::PathBuf;

use figment::error::Kind;
use figment::providers::{Env, Format as _, Serialized, Toml};
use figment::{Figment, Source};
use serde::Deserialize;
use serde::de::DeserializeOwned;

pub use self::files::value_in_file;
use crate::auth::Secret;
pub use crate::telemetry::{LogFormat, TelemetryConfig};
use crate::tls::{ClientTlsConfigFiles, ServerTlsConfig};

/// The services of a mesh, as named in environment variables: `FUNLESS_<SERVICE>_<KEY>`.
pub const SERVICES: [&str; 6] = ["registry", "sink", "scheduler", "worker", "connector", "gateway"];

const VARIABLE_PREFIX: &str = "FUNLESS_";

/// The configuration of a service.
pub trait ServiceConfig: DeserializeOwned {
    /// The service's name in the environment, in logs and in traces: `registry`.
    const NAME: &'static str;

    /// Whether only services of the mesh call its port; otherwise users do, with tokens.
    const INTERNAL: bool = true;

    /// The server's settings.
    fn server(&self) -> &ServerConfig;
    /// Logs and traces.
    fn telemetry(&self) -> &TelemetryConfig;
    /// Checks what the types cannot express. An error names the key.
    fn validate(&self) -> Result<(), String> {
        Ok(())
    }
    /// Listeners in addition to `server.listen`, by name.
    fn more_listeners(&self) -> Vec<(&'static str, Listen)> {
        Vec::new()
    }
}

/// The table `server` of every service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Where gRPC is served: `address:port`, or `unix:/path`. Port 0 selects a free port.
    pub listen: Listen,
    /// Where `/metrics`, `/livez`, `/readyz` and `/log` are served over plain HTTP. Absent: the address of
    /// `listen` with its port + 100. `off`: nowhere.
    pub admin_listen: AdminListen,
    /// The maximum number of concurrent calls; more are refused as OVERLOADED.
    pub max_concurrent: usize,
    /// The maximum number of open connections from one address to the service's TCP ports; more are closed at once. 0: no
    /// maximum. An address is an IPv4 address or an IPv6 /64 network.
    pub max_connections_per_address: usize,
    /// Drain when the parent process ends for any reason; for children of a supervisor.
    pub stop_with_parent: bool,
    /// How long a stop waits for running calls, in seconds.
    pub drain_timeout_s: u64,
    /// The secret that services of one mesh show each other. Absent: every client that reaches the port is
    /// trusted.
    pub secret: Option<Secret>,
    /// Serve without a secret and without mutual TLS, so that everyone who reaches the port may do everything.
    pub insecure: bool,
    /// TLS of the service's ports; the admin port is always plain HTTP.
    pub tls: Option<ServerTlsConfig>,
    /// TLS for connections to other services.
    pub client_tls: Option<ClientTlsConfigFiles>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))),
            admin_listen: AdminListen::Beside,
            max_concurrent: 1024,
            max_connections_per_address: 1024,
            stop_with_parent: false,
            drain_timeout_s: 30,
            secret: None,
            insecure: false,
            tls: None,
            client_tls: None,
        }
    }
}

impl ServerConfig {
    /// The defaults, listening on loopback port `port`.
    pub fn on_port(port: u16) -> Self {
        Self { listen: Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], port))), ..Self::default() }
    }
}

/// Refuses a port at which everyone may do everything, unless that is said to be wanted. The file system protects Unix
/// sockets.
pub(crate) fn refuse_open_port<C: ServiceConfig>(config: &C) -> Result<(), String> {
    let ServerConfig { listen, secret, insecure, tls, .. } = config.server();
    let is_protected = secret.is_some() || tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    if *insecure && is_protected {
        return Err("server.insecure: expected false, since there is a secret or mutual TLS".into());
    }
    if !C::INTERNAL || is_protected || *insecure || matches!(listen, Listen::Unix(_)) {
        return Ok(());
    }
    Err(format!(
        "server.secret: expected the secret that the services of the mesh share, such as the output of \
         `openssl rand -hex 32`, or mutual TLS (server.tls.client_ca); without them, everyone who reaches the port of \
         the {} may do everything. If that is intended, set server.insecure=true",
        C::NAME
    ))
}

/// Where to listen: `address:port`, or `unix:/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl std::str::FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            _ => text.parse().map(Self::Tcp).map_err(|_| {
                format!("{text:?} is not an address to listen on; expected address:port or unix:/path")
            }),
        }
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Where the admin port listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminListen {
    /// On the service's port + 100; nowhere if the service listens on a Unix socket or on port 0.
    Beside,
    /// Nowhere.
    Off,
    /// At this address.
    At(SocketAddr),
}

impl AdminListen {
    /// The address for a service that listens on `listen`.
    pub fn address(&self, listen: &Listen) -> Option<SocketAddr> {
        match (self, listen) {
            (Self::At(address), _) => Some(*address),
            (Self::Beside, Listen::Tcp(address)) if address.port() != 0 => {
                Some(SocketAddr::new(address.ip(), address.port().checked_add(100)?))
            }
            _ => None,
        }
    }
}

impl std::str::FromStr for AdminListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            _ => text
                .parse()
                .map(Self::At)
                .map_err(|_| format!("{text:?} is not an address; expected address:port or off")),
        }
    }
}

impl<'de> Deserialize<'de> for AdminListen {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The command line of every service.
#[derive(Debug, clap::Parser)]
#[command(version, about = "A service of FunLess Mesh.")]
pub(crate) struct Arguments {
    /// The configuration file, TOML.
    #[arg(long, short, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Sets one key, such as server.listen=127.0.0.1:4001. May be repeated; wins over file and
    /// environment.
    #[arg(long = "set", short, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// What to do instead of running the service.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What a service's program does instead of running the service.
#[derive(Debug, Clone, Copy, clap::Subcommand)]
pub(crate) enum Command {
    /// Asks the service that runs here with the same configuration whether it is ready. Exits with 0 if it is; else
    /// says why not.
    Healthcheck,
}

/// Reads the configuration from these arguments and the environment.
pub(crate) fn load<C: ServiceConfig>(arguments: &Arguments) -> Result<C, String> {
    let mut figment = default_listener::<C>()?;
    if let Some(path) = &arguments.config {
        if !path.is_file() {
            return Err(format!("--config: there is no file {}", path.display()));
        }
        figment = figment.merge(Toml::file_exact(path));
    }
    let variables: Vec<_> = std::env::vars_os().collect();
    for (variable, _) in &variables {
        service_of_variable(&variable.to_string_lossy())?;
    }
    let prefix = format!("{VARIABLE_PREFIX}{}_", C::NAME.to_uppercase());
    let environment = Env::prefixed(&prefix).filter(|key| !files::names_a_file(key.as_str())).split("__");
    figment = figment.merge(environment);
    for value in files::values_in_files(C::NAME, &variables)? {
        figment = figment.merge(value);
    }
    extract(&with_flags(figment, &arguments.set)?)
}

/// The service's own port, which it keeps if other keys of the table `server` are set.
fn default_listener<C: ServiceConfig>() -> Result<Figment, String> {
    let defaults: C = Figment::new().extract().map_err(|error| describe(&error))?;
    let listen = match &defaults.server().listen {
        Listen::Tcp(address) => address.to_string(),
        Listen::Unix(path) => format!("unix:{}", path.display()),
    };
    // A pair of key and value would win over files and the environment, as flags do.
    Ok(Figment::from(Serialized::default("server.listen", listen)))
}

/// The service and the key that a variable sets; `None` if it does not start with `FUNLESS_`. Case does not
/// matter.
pub fn service_of_variable(variable: &str) -> Result<Option<(&'static str, String)>, String> {
    let name = variable.to_uppercase();
    let Some(rest) = name.strip_prefix(VARIABLE_PREFIX) else { return Ok(None) };
    let of = |service: &'static str| {
        let key = rest.strip_prefix(&service.to_uppercase())?.strip_prefix('_')?;
        (!key.is_empty()).then(|| (service, key.to_lowercase().replace("__", ".")))
    };
    SERVICES.into_iter().find_map(of).map(Some).ok_or_else(|| {
        let services = SERVICES.join(", ").to_uppercase();
        format!("{variable}: nobody reads this variable; expected FUNLESS_<SERVICE>_<KEY>, services are {services}")
    })
}

/// The configuration given by `settings`, an object, and then the flags `set`, which win.
pub fn of_settings<C: ServiceConfig>(settings: &serde_json::Value, set: &[String]) -> Result<C, String> {
    extract(&with_flags(Figment::from(Serialized::defaults(settings)), set)?)
}

fn with_flags(mut figment: Figment, set: &[String]) -> Result<Figment, String> {
    for setting in set {
        let Some((key, value)) = setting.split_once('=') else {
            return Err(format!("--set {setting}: expected KEY=VALUE"));
        };
        let Ok(value) = value.parse::<figment::value::Value>();
        figment = figment.merge((key, value));
    }
    Ok(figment)
}

/// Names the key that is wrong, the problem and the source.
fn describe(error: &figment::Error) -> String {
    let key = error.path.join(".");
    let problem = match &error.kind {
        Kind::UnknownField(name, expected) => {
            let table = key.strip_suffix(name.as_str()).unwrap_or_default();
            return format!("unknown key {table}{name}; expected one of {}", expected.join(", "))
                + &place(error);
        }
        kind => kind.to_string(),
    };
    format!("{key}: {problem}{}", place(error))
}

/// The file or environment that an error is about; empty for a flag, which the user has just typed.
fn place(error: &figment::Error) -> String {
    let metadata = error.metadata.as_ref();
    match metadata.and_then(|metadata| metadata.source.as_ref()) {
        Some(Source::File(path)) => format!(" (in {})", path.display()),
        _ if metadata.is_some_and(|metadata| metadata.name.contains("environment")) => {
            " (in the environment)".into()
        }
        _ => String::new(),
    }
}

fn extract<C: ServiceConfig>(figment: &Figment) -> Result<C, String> {
    let config: C = figment
        .extract()
        .map_err(|errors| errors.into_iter().map(|error| describe(&error)).collect::<Vec<_>>().join("\n"))?;
    config.telemetry().validate()?;
    config.validate()?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Config {
        server: ServerConfig,
        telemetry: TelemetryConfig,
        name: String,
    }

    impl Default for Config {
        fn default() -> Self {
            Self {
                server: ServerConfig::on_port(4001),
                telemetry: TelemetryConfig::default(),
                name: "x".into(),
            }
        }
    }

    impl ServiceConfig for Config {
        const NAME: &'static str = "test";
        fn server(&self) -> &ServerConfig {
            &self.server
        }
        fn telemetry(&self) -> &TelemetryConfig {
            &self.telemetry
        }
        fn validate(&self) -> Result<(), String> {
            if self.name.is_empty() { Err("name: can't be empty".into()) } else { Ok(()) }
        }
    }

    fn read(toml: &str) -> Result<Config, String> {
        extract(&Figment::new().merge(Toml::string(toml)))
    }

    #[test]
    fn a_service_keeps_its_port_if_another_key_of_the_server_is_set() {
        for (toml, expected) in [
            ("", "127.0.0.1:4001"),
            ("[server]\nsecret = 's'", "127.0.0.1:4001"),
            ("[server]\nlisten = '10.0.0.1:7'", "10.0.0.1:7"),
        ] {
            let figment = default_listener::<Config>().expect("valid").merge(Toml::string(toml));
            let config: Config = extract(&figment).expect("valid");
            assert_eq!(config.server.listen, expected.parse().expect("an address"), "{toml}");
        }
    }

    #[test]
    fn an_open_port_is_refused() {
        const SECRET: &str = "secret = 's'\n";
        const MUTUAL_TLS: &str = "tls = { cert = 'c', key = 'k', client_ca = 'a' }\n";
        const TLS: &str = "tls = { cert = 'c', key = 'k' }\n";
        const UNIX: &str = "listen = 'unix:/run/x'\n";
        const INSECURE: &str = "insecure = true\n";
        for (server, expected) in [
            ("", "server.secret: expected the secret"),
            (TLS, "server.secret: expected the secret"),
            (SECRET, ""),
            (MUTUAL_TLS, ""),
            (UNIX, ""),
            (INSECURE, ""),
            (&format!("{SECRET}{INSECURE}"), "server.insecure: expected false"),
            (&format!("{MUTUAL_TLS}{INSECURE}"), "server.insecure: expected false"),
        ] {
            let config = read(&format!("[server]\n{server}")).expect("valid");
            match refuse_open_port(&config) {
                Ok(()) => assert_eq!(expected, "", "{server}"),
                Err(problem) => {
                    assert!(!expected.is_empty() && problem.starts_with(expected), "{server}: {problem}")
                }
            }
        }
    }

    #[test]
    fn absent_keys_have_defaults() {
        let config = read("[server]\nmax_concurrent = 7").expect("valid");
        assert_eq!((config.server.max_concurrent, config.server.drain_timeout_s), (7, 30));
        assert_eq!(config.name, "x");
    }

    #[test]
    fn errors_name_the_key() {
        let cases = [
            ("nmae = 'a'", "unknown key nmae; expected one of server, telemetry, name"),
            ("[server]\nlisen = 'a'", "unknown key server.lisen; expected one of listen, admin_listen, "),
            (
                "[server]\nlisten = 'nowhere'",
                "server.listen: \"nowhere\" is not an address to listen on; expected ",
            ),
            ("[server]\nmax_concurrent = 'many'", "server.max_concurrent: invalid type: "),
            ("name = ''", "name: can't be empty"),
            ("[telemetry]\nformat = 'xml'", "telemetry.format: unknown variant: "),
            ("[telemetry]\nsample_ratio = 1.5", "telemetry.sample_ratio: 1.5 is out of range"),
            ("[telemetry]\nqueued_spans = 0", "telemetry.queued_spans: 0 is out of range"),
        ];
        for (toml, expected) in cases {
            let error = read(toml).expect_err(toml);
            assert!(error.starts_with(expected), "{error:?} should start with {expected:?}");
        }
    }

    #[test]
    fn variables_set_keys_of_services() {
        for (variable, expected) in [
            ("FUNLESS_WORKER_NAME", Some(("worker", "name"))),
            ("funless_registry_server__tls__cert", Some(("registry", "server.tls.cert"))),
            ("PATH", None),
            ("FL_CONFIG", None),
        ] {
            let found = service_of_variable(variable).expect("a valid variable");
            assert_eq!(found.as_ref().map(|(service, key)| (*service, key.as_str())), expected);
        }
        for variable in
            ["FUNLESS_WORKR_NAME", "FUNLESS_NAME", "FUNLESS_WORKER", "FUNLESS_WORKER_", "FUNLESS_"]
        {
            let error = service_of_variable(variable).expect_err(variable);
            assert!(error.starts_with(variable) && error.ends_with("WORKER, CONNECTOR, GATEWAY"), "{error}");
        }
    }

    #[test]
    fn flags_win_over_settings() {
        let settings = serde_json::json!({ "name": "y", "server": { "drain_timeout_s": 7, "secret": null } });
        let set = ["server.max_concurrent=3".to_owned(), "name=z".to_owned()];
        let config: Config = of_settings(&settings, &set).expect("valid");
        let ServerConfig { max_concurrent, drain_timeout_s, .. } = config.server;
        assert_eq!((config.name.as_str(), max_concurrent, drain_timeout_s), ("z", 3, 7));
        let error = of_settings::<Config>(&settings, &["nome=z".to_owned()]).expect_err("no such key");
        assert!(error.contains("nome"), "{error}");
    }

    #[test]
    fn the_admin_port_defaults_to_the_service_port_plus_100() {
        let listen: Listen = "10.0.0.1:4001".parse().expect("valid");
        assert_eq!(AdminListen::Beside.address(&listen), "10.0.0.1:4101".parse().ok());
        assert_eq!(AdminListen::Off.address(&listen), None);
        assert_eq!(AdminListen::Beside.address(&Listen::Unix("/run/x".into())), None);
    }
}
