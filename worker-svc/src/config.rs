//! All the knobs of the worker.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mesh::channel::Endpoint;
use mesh::config::{ServerConfig, ServiceConfig, TelemetryConfig};
use serde::{Deserialize, Deserializer};

/// One page of WebAssembly's memory, in bytes.
const PAGE: u64 = 64 << 10;
/// Of `MAX_MESSAGE_BYTES`, what a message holds beside a result.
const ENVELOPE: u64 = 1 << 20;
/// What is remembered of logs is told in one message, with what encodes it.
const LOG_RING_MOST: u64 = 8 << 20;
/// Schedulers keep the labels of all workers, and show them.
const MAX_LABELS: usize = 64;
/// Of a label's key, and of its value.
const MAX_LABEL_BYTES: usize = 256;

/// The worker's configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How it serves the schedulers.
    pub server: ServerConfig,
    /// How it is seen.
    pub telemetry: TelemetryConfig,
    /// What APP scripts and people call this worker; matches `^[_a-zA-Z0-9.@-]+$`, such as
    /// `worker@127.0.0.1`. Default: the name of the host.
    pub name: String,
    /// A label that APP scripts choose workers by. Empty: none.
    pub tag: String,
    /// What else its operator says of it: a table `[labels]`, such as `zone = "edge-1"`. Keys are like
    /// names, values are text of at most 256 bytes; at most 64 of them.
    pub labels: BTreeMap<String, String>,
    /// Where the registry is.
    pub registry: Endpoint,
    /// Where the schedulers are, each replica by itself; at least one.
    pub schedulers: Vec<Endpoint>,
    /// Where schedulers reach this worker. Absent: where it listens, which then has to be an address
    /// that others can reach. `none`: nowhere, as behind a NAT; it then opens a tunnel to each of them.
    pub advertise: Advertise,
    /// Where compiled code is kept. Made when it is not there; has to belong to the user that the
    /// worker runs as, and to be writable by nobody else.
    pub cache_dir: PathBuf,
    /// Invocations that run at once; more are refused as OVERLOADED.
    pub max_concurrent: usize,
    /// Memory of one invocation in bytes: the default of functions and the most that they get.
    pub memory_bytes: u64,
    /// Wall-clock time of one invocation in milliseconds: the default and the most.
    pub timeout_ms: u64,
    /// Output of one invocation in bytes: the default and the most.
    pub output_bytes: u64,
    /// What one invocation may log, in bytes; the rest is dropped.
    pub log_bytes: usize,
    /// The latest log lines of all functions that are remembered for `fl fn logs`, in bytes.
    pub log_ring_bytes: usize,
    /// Stack of one invocation in bytes.
    pub stack_bytes: usize,
    /// Memory for code that is ready to run, in bytes. The least recently used goes first.
    pub module_cache_bytes: u64,
    /// Threads that compile. Default: half of the processor's cores.
    pub compile_threads: usize,
    /// Memory that functions may use in all, in bytes, as schedulers are told. Default: what the
    /// worker's cgroup, or else the machine, has.
    pub total_memory_bytes: Option<u64>,
    /// How long fetching one function's code from the registry may take, in milliseconds.
    pub fetch_timeout_ms: u64,
    /// How long one HTTP request of a function may take, in milliseconds.
    pub http_timeout_ms: u64,
    /// The largest body that an HTTP request of a function gets, in bytes.
    pub http_body_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: ServerConfig::on_port(4003),
            telemetry: TelemetryConfig::default(),
            name: host_name(),
            tag: String::new(),
            labels: BTreeMap::new(),
            registry: local_port(4001),
            schedulers: vec![local_port(4002)],
            advertise: Advertise::Listening,
            cache_dir: "./.funless/code-cache".into(),
            max_concurrent: 256,
            memory_bytes: 128 << 20,
            timeout_ms: 60_000,
            output_bytes: 6 << 20,
            log_bytes: 64 << 10,
            log_ring_bytes: 4 << 20,
            stack_bytes: 1 << 20,
            module_cache_bytes: 512 << 20,
            compile_threads: (cores() / 2).max(1),
            total_memory_bytes: None,
            fetch_timeout_ms: 30_000,
            http_timeout_ms: 30_000,
            http_body_bytes: 16 << 20,
        }
    }
}

/// Where schedulers reach the worker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Advertise {
    /// Where it listens.
    #[default]
    Listening,
    /// Nowhere, but through the tunnels that it opens.
    Nowhere,
    /// Here.
    At(Endpoint),
}

impl<'de> Deserialize<'de> for Advertise {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "none" => Ok(Self::Nowhere),
            text => text
                .parse()
                .map(Self::At)
                .map_err(|error: String| serde::de::Error::custom(format!("{error}, or none"))),
        }
    }
}

/// The cores that this process may use: affinity and cgroup quota count.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn local_port(port: u16) -> Endpoint {
    format!("http://127.0.0.1:{port}").parse().expect("a well-formed endpoint")
}

fn host_name() -> String {
    let name = sysinfo::System::host_name().unwrap_or_default();
    let name = if name.is_empty() { "worker".into() } else { name };
    name.chars().map(|c| if in_name(c) { c } else { '-' }).collect()
}

fn in_name(c: char) -> bool {
    in_label_key(c) || c == '@'
}

fn in_label_key(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
}

fn validate_labels(labels: &BTreeMap<String, String>) -> Result<(), String> {
    if labels.len() > MAX_LABELS {
        return Err(format!("labels: {} are too many; expected at most {MAX_LABELS}", labels.len()));
    }
    for (key, value) in labels {
        if key.is_empty() || key.len() > MAX_LABEL_BYTES || !key.chars().all(in_label_key) {
            return Err(format!(
                "labels: the key {key:?} must consist of letters, digits, underscores, dots and hyphens, at \
                 most {MAX_LABEL_BYTES} of them"
            ));
        }
        if value.len() > MAX_LABEL_BYTES || value.chars().any(char::is_control) {
            return Err(format!(
                "labels.{key}: expected a line of at most {MAX_LABEL_BYTES} bytes without control characters"
            ));
        }
    }
    Ok(())
}

impl ServiceConfig for Config {
    const NAME: &'static str = "worker";

    fn server(&self) -> &ServerConfig {
        &self.server
    }

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }

    fn validate(&self) -> Result<(), String> {
        if self.name.is_empty() || !self.name.chars().all(in_name) {
            return Err(format!(
                "name: {:?} must consist of letters, digits, underscores, dots, hyphens and at signs",
                self.name
            ));
        }
        validate_labels(&self.labels)?;
        if self.schedulers.is_empty() {
            return Err("schedulers: at least one is needed".into());
        }
        let output_most = mesh::MAX_MESSAGE_BYTES as u64 - ENVELOPE;
        let ranges = [
            ("max_concurrent", self.max_concurrent as u64, 1, 10_000),
            ("memory_bytes", self.memory_bytes, PAGE, 4 << 30),
            ("timeout_ms", self.timeout_ms, 1, 24 * 3_600_000),
            ("output_bytes", self.output_bytes, 1, output_most),
            ("log_ring_bytes", self.log_ring_bytes as u64, 0, LOG_RING_MOST),
            ("stack_bytes", self.stack_bytes as u64, PAGE, 64 << 20),
            ("compile_threads", self.compile_threads as u64, 1, 1024),
            ("total_memory_bytes", self.total_memory_bytes.unwrap_or(1), 1, u64::MAX),
            ("fetch_timeout_ms", self.fetch_timeout_ms, 1, 3_600_000),
            ("http_timeout_ms", self.http_timeout_ms, 1, 24 * 3_600_000),
        ];
        for (key, value, least, most) in ranges {
            if value < least || value > most {
                return Err(format!("{key}: {value} is out of range; expected {least} to {most}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Config::default().validate(), Ok(()));
        for name in ["worker@127.0.0.1", "a-b_c.d@e-1", "7"] {
            assert_eq!(Config { name: name.into(), ..Config::default() }.validate(), Ok(()));
        }
        let labels = [("zone".into(), "edge-1".into()), ("example.org-rack_2".into(), "é".repeat(128))];
        assert_eq!(Config { labels: labels.into(), ..Config::default() }.validate(), Ok(()));
    }

    #[test]
    fn a_worker_may_be_reached_nowhere() {
        let read = |text: &str| serde_json::from_value::<Advertise>(text.into()).map_err(|e| e.to_string());
        assert_eq!(read("none"), Ok(Advertise::Nowhere));
        let here = "http://worker-1:4003";
        assert_eq!(read(here), Ok(Advertise::At(here.parse().expect("an endpoint"))));
        let error = read("nowhere").expect_err("no endpoint");
        assert!(error.contains("expected http://host:port") && error.ends_with("or none"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        type Change = fn(&mut Config);
        fn label(config: &mut Config, key: &str, value: &str) {
            config.labels.insert(key.into(), value.into());
        }
        let cases: [(&str, Change); 14] = [
            ("name: \"\"", |c| c.name.clear()),
            ("name: \"a b\"", |c| c.name = "a b".into()),
            ("labels: the key \"a@b\"", |c| label(c, "a@b", "x")),
            ("labels: 65 are too many", |c| (0..65).for_each(|n| label(c, &n.to_string(), ""))),
            ("labels: the key \"\"", |c| label(c, "", "x")),
            ("labels: the key \"a b\"", |c| label(c, "a b", "x")),
            ("labels: the key \"aaaa", |c| label(c, &"a".repeat(257), "x")),
            ("labels.zone: expected a line of at most 256 bytes", |c| label(c, "zone", &"x".repeat(257))),
            ("labels.zone: expected a line", |c| label(c, "zone", "a\nb")),
            ("schedulers:", |c| c.schedulers.clear()),
            ("max_concurrent: 0", |c| c.max_concurrent = 0),
            ("memory_bytes: 1 ", |c| c.memory_bytes = 1),
            ("output_bytes: 16777216", |c| c.output_bytes = 16 << 20),
            ("log_ring_bytes: 16777216", |c| c.log_ring_bytes = 16 << 20),
        ];
        for (expected, change) in cases {
            let mut config = Config::default();
            change(&mut config);
            let error = config.validate().expect_err(expected);
            assert!(error.starts_with(expected), "{error:?} names {expected:?}");
        }
    }
}
