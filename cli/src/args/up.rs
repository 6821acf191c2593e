//! `fl up`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use mesh::config::{AdminListen, LogFormat};
use mesh::egress::Rule;
use mesh::tls::ServerTlsConfig;

/// Runs the whole mesh in this process, or with --mesh as six processes.
#[derive(Debug, Args)]
pub struct Up {
    /// Directory of the database, the compiled functions and the tokens.
    #[arg(long, default_value = ".funless", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Address of the REST API.
    #[arg(long, default_value = "127.0.0.1:4000", value_name = "ADDRESS")]
    pub http: SocketAddr,
    /// Address of the gRPC API.
    #[arg(long, default_value = "127.0.0.1:4010", value_name = "ADDRESS")]
    pub grpc: SocketAddr,
    /// Address of /metrics, /livez, /readyz and /log, or `off`. With --mesh the gateway's; registry, scheduler,
    /// worker, connector, sink and further workers have the ports that follow.
    #[arg(long, default_value = "127.0.0.1:4100", value_name = "ADDRESS|off")]
    pub admin: AdminListen,
    /// PEM file of the certificate chain with which the REST and gRPC APIs serve TLS. Default: no TLS.
    #[arg(long, value_name = "FILE", requires = "tls_key", conflicts_with = "demo")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file of the private key of --tls-cert.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// The registry's database: postgres://user:password@host/name, or sqlite:FILE. Default: a SQLite
    /// file in the data directory.
    #[arg(long, env = "FL_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// Upload the bundled function `hello`, invoke it, and keep serving.
    #[arg(long)]
    pub demo: bool,
    /// Run the six services as six supervised processes that talk gRPC over loopback.
    #[arg(long)]
    pub mesh: bool,
    /// Number of workers; requires --mesh.
    #[arg(long, default_value_t = 1, requires = "mesh", value_parser = clap::value_parser!(u16).range(1..))]
    pub workers: u16,
    /// Log level, or levels by module: info,scheduler_svc=debug.
    #[arg(long, default_value = "warn", value_name = "LEVELS")]
    pub log: String,
    /// Format of log lines: JSON, for people, or `auto`: for people on a terminal, else JSON.
    #[arg(long, value_enum, default_value_t = LogFormat::Auto, value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// OTLP gRPC endpoint that receives traces, such as http://127.0.0.1:4317. Default: none.
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// Share of new traces to sample, from 0 to 1.
    #[arg(long, default_value_t = 1.0, value_name = "RATIO")]
    pub sample_ratio: f64,
    /// Deny functions, event sources and sinks connections to loopback, too. Without it, loopback is allowed except for
    /// the mesh's own ports.
    #[arg(long)]
    pub strict: bool,
    /// Let functions, event sources and sinks connect to addresses that are denied by default, such as
    /// 192.168.1.7:1883, 10.0.0.0/8 or broker.lan. Repeatable, or separated by commas.
    #[arg(long, env = "FL_ALLOW_EGRESS", value_delimiter = ',', value_name = "HOST[:PORTS]")]
    pub allow_egress: Vec<Rule>,
    /// Set one configuration key of a service, such as worker.max_concurrent=64. Repeatable.
    #[arg(long, value_name = "SERVICE.KEY=VALUE")]
    pub set: Vec<String>,
}

impl Up {
    /// What types cannot say. An error names the flag.
    pub fn check(&self) -> anyhow::Result<()> {
        let mut addresses = vec![("--http", self.http), ("--grpc", self.grpc)];
        if let AdminListen::At(address) = self.admin {
            addresses.push(("--admin", address));
        }
        match addresses.iter().find(|(_, address)| address.port() == 0) {
            Some((flag, address)) => anyhow::bail!("{flag} {address}: expected a port from 1 to 65535"),
            None => Ok(()),
        }
    }

    /// The ports of the REST and gRPC APIs, and the first admin port.
    pub fn ports(&self) -> Vec<u16> {
        let admin = match self.admin {
            AdminListen::At(address) => Some(address),
            AdminListen::Off | AdminListen::Beside => None,
        };
        [self.http, self.grpc].into_iter().chain(admin).map(|address| address.port()).collect()
    }

    /// The certificate and key of the REST and gRPC APIs.
    pub fn tls(&self) -> Option<ServerTlsConfig> {
        let (cert, key) = (self.tls_cert.clone()?, self.tls_key.clone()?);
        Some(ServerTlsConfig { cert, key, client_ca: None })
    }

    /// The URL of a port that clients use.
    pub fn url(&self, address: SocketAddr) -> String {
        let scheme = if self.tls_cert.is_some() { "https" } else { "http" };
        format!("{scheme}://{address}")
    }
}
