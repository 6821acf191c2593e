//! The configuration of the worker.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mesh::config::{ServerConfig, ServiceConfig, TelemetryConfig};
use mesh::egress::EgressConfig;
use mesh::endpoint::Endpoint;
use mesh::wasm::{DEFAULT_MEMORY_BYTES, MAX_MEMORY_BYTES, PAGE_BYTES};
use serde::{Deserialize, Deserializer};

/// The part of `MAX_MESSAGE_BYTES` that a message needs beside a result.
const MESSAGE_OVERHEAD_BYTES: u64 = 1 << 20;
/// The compiler itself needs some memory.
const MIN_COMPILE_BYTES: u64 = 16 << 20;
/// All log lines that are kept have to fit into one message.
const MAX_LOG_RING_BYTES: u64 = 8 << 20;
/// The most labels: schedulers keep those of all workers.
const MAX_LABELS: usize = 64;
/// The longest key of a label, and the longest value.
const MAX_LABEL_BYTES: usize = 256;

/// The worker's configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How it serves schedulers.
    pub server: ServerConfig,
    /// Logs, traces and metrics.
    pub telemetry: TelemetryConfig,
    /// What functions may connect to.
    pub egress: EgressConfig,
    /// The name in APP scripts and for people; matches `^[_a-zA-Z0-9.@-]+$`, such as
    /// `worker@127.0.0.1`. Default: the name of the host.
    pub name: String,
    /// The tag by which APP scripts choose workers. Empty: none.
    pub tag: String,
    /// More about this worker: a table `[labels]`, such as `zone = "edge-1"`, with at most 64 entries. Keys match
    /// `^[_a-zA-Z0-9.-]+$`, values are lines of at most 256 bytes.
    pub labels: BTreeMap<String, String>,
    /// The address of the registry.
    pub registry: Endpoint,
    /// The addresses of the schedulers, one for each replica; at least one.
    pub schedulers: Vec<Endpoint>,
    /// The address at which schedulers reach this worker. Absent: the one where it listens, which others must be
    /// able to reach. `none`: schedulers cannot reach it, as behind a NAT; it opens a tunnel to each of them.
    pub advertise: Advertise,
    /// The folder for compiled code, which is created if it is missing. It must belong to the user that runs
    /// the worker and be writable by no other user.
    pub cache_dir: PathBuf,
    /// The most that compiled code in `cache_dir` may take, in bytes; at least `module_cache_bytes`. The least recently
    /// used code is evicted first, and compiled again when it is called.
    pub cache_bytes: u64,
    /// The most invocations at once; more are refused as OVERLOADED.
    pub max_concurrent: usize,
    /// The most invocations of one function at once; more are refused as OVERLOADED. 0: no limit.
    pub max_concurrent_per_function: usize,
    /// The most that one module may use of `max_concurrent`, as a percentage; the rest is for other modules. 100: no
    /// limit.
    pub max_percent_per_module: u8,
    /// Memory of one invocation in bytes: the default for functions, and the most. If it is more than the default,
    /// the registry's `max_memory_bytes` has to be raised, too.
    pub memory_bytes: u64,
    /// Wall-clock time of one invocation in milliseconds: the default and the most.
    pub timeout_ms: u64,
    /// Output of one invocation in bytes: the default and the most.
    pub output_bytes: u64,
    /// The log of one invocation in bytes; the rest is dropped.
    pub log_bytes: usize,
    /// The log lines of all functions that are kept for `fl fn logs`, in bytes: the latest.
    pub log_ring_bytes: usize,
    /// Stack of one invocation in bytes.
    pub stack_bytes: usize,
    /// Memory for code that is ready to run, in bytes. The least recently used code is evicted first.
    pub module_cache_bytes: u64,
    /// How long code stays in memory without being called, in seconds. Its next call loads it from `cache_dir`.
    pub idle_code_s: u64,
    /// Threads that compile code: so many functions are compiled at once, each in a process with one thread, and one
    /// more that takes long. Default: half of the cores.
    pub compile_threads: usize,
    /// Memory of one compilation in bytes. Code that needs more cannot be used.
    pub compile_memory_bytes: u64,
    /// CPU time of one compilation in seconds. Code that needs more cannot be used.
    pub compile_cpu_s: u64,
    /// Timeout of one compilation in milliseconds. Unlike code that reaches the other limits, which is remembered, code
    /// that reaches this one is tried again after a restart.
    pub compile_timeout_ms: u64,
    /// The program that compiles code: a worker of the same version. Default: this program.
    pub compiler: Option<PathBuf>,
    /// Memory for all functions together, in bytes, as schedulers see it, with what the worker holds for them:
    /// arguments, results, HTTP bodies, tables and log lines. Default: the memory of the worker's
    /// cgroup, or else of the machine.
    pub total_memory_bytes: Option<u64>,
    /// Timeout for fetching the code of one function from the registry, in milliseconds.
    pub fetch_timeout_ms: u64,
    /// Timeout of one HTTP request of a function, in milliseconds.
    pub http_timeout_ms: u64,
    /// The largest body of a response to an HTTP request of a function, in bytes.
    pub http_body_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: ServerConfig::on_port(4003),
            telemetry: TelemetryConfig::default(),
            egress: EgressConfig::default(),
            name: host_name(),
            tag: String::new(),
            labels: BTreeMap::new(),
            registry: local_port(4001),
            schedulers: vec![local_port(4002)],
            advertise: Advertise::ListenAddress,
            cache_dir: "./.funless/code-cache".into(),
            cache_bytes: 2 << 30,
            max_concurrent: 256,
            max_concurrent_per_function: 0,
            max_percent_per_module: 75,
            memory_bytes: DEFAULT_MEMORY_BYTES,
            timeout_ms: 60_000,
            output_bytes: 6 << 20,
            log_bytes: 64 << 10,
            log_ring_bytes: 4 << 20,
            stack_bytes: 1 << 20,
            module_cache_bytes: 512 << 20,
            idle_code_s: 300,
            compile_threads: (cores() / 2).max(1),
            compile_memory_bytes: 1 << 30,
            compile_cpu_s: 60,
            compile_timeout_ms: 300_000,
            compiler: None,
            total_memory_bytes: None,
            fetch_timeout_ms: 30_000,
            http_timeout_ms: 30_000,
            http_body_bytes: 16 << 20,
        }
    }
}

/// The address at which schedulers reach the worker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Advertise {
    /// The one where it listens.
    #[default]
    ListenAddress,
    /// None: they reach it through the tunnels that it opens.
    None,
    /// This one.
    Address(Endpoint),
}

impl<'de> Deserialize<'de> for Advertise {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "none" => Ok(Self::None),
            text => text
                .parse()
                .map(Self::Address)
                .map_err(|error: String| serde::de::Error::custom(format!("{error}, or none"))),
        }
    }
}

/// The cores that this process may use, considering affinity and cgroup quota.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn local_port(port: u16) -> Endpoint {
    format!("http://127.0.0.1:{port}").parse().expect("a well-formed endpoint")
}

fn host_name() -> String {
    let name = sysinfo::System::host_name().unwrap_or_default();
    let name = if name.is_empty() { "worker".into() } else { name };
    name.chars().map(|c| if is_name_character(c) { c } else { '-' }).collect()
}

fn is_name_character(c: char) -> bool {
    is_label_key_character(c) || c == '@'
}

fn is_label_key_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
}

fn validate_labels(labels: &BTreeMap<String, String>) -> Result<(), String> {
    if labels.len() > MAX_LABELS {
        return Err(format!("labels: expected at most {MAX_LABELS}, not {}", labels.len()));
    }
    for (key, value) in labels {
        if key.is_empty() || key.len() > MAX_LABEL_BYTES || !key.chars().all(is_label_key_character) {
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
        if self.name.is_empty() || !self.name.chars().all(is_name_character) {
            return Err(format!(
                "name: {:?} must consist of letters, digits, underscores, dots, hyphens and at signs",
                self.name
            ));
        }
        validate_labels(&self.labels)?;
        self.egress.validate()?;
        if self.schedulers.is_empty() {
            return Err("schedulers: expected at least one".into());
        }
        let max_output_bytes = mesh::MAX_MESSAGE_BYTES as u64 - MESSAGE_OVERHEAD_BYTES;
        let ranges = [
            ("max_concurrent", self.max_concurrent as u64, 1, 10_000),
            ("max_percent_per_module", self.max_percent_per_module.into(), 1, 100),
            ("memory_bytes", self.memory_bytes, PAGE_BYTES, MAX_MEMORY_BYTES),
            ("timeout_ms", self.timeout_ms, 1, 24 * 3_600_000),
            ("output_bytes", self.output_bytes, 1, max_output_bytes),
            ("log_ring_bytes", self.log_ring_bytes as u64, 0, MAX_LOG_RING_BYTES),
            ("stack_bytes", self.stack_bytes as u64, PAGE_BYTES, 64 << 20),
            ("cache_bytes", self.cache_bytes, self.module_cache_bytes, u64::MAX),
            ("idle_code_s", self.idle_code_s, 1, 365 * 24 * 3600),
            ("compile_threads", self.compile_threads as u64, 1, 1024),
            ("compile_memory_bytes", self.compile_memory_bytes, MIN_COMPILE_BYTES, 1 << 40),
            ("compile_cpu_s", self.compile_cpu_s, 1, 24 * 3600),
            ("compile_timeout_ms", self.compile_timeout_ms, 1, 24 * 3_600_000),
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
    use mesh::egress::Restriction;
    use mesh::testing::config::assert_invalid;

    use super::*;

    #[test]
    fn names_and_labels() {
        for name in ["worker@127.0.0.1", "a-b_c.d@e-1", "7"] {
            assert_eq!(Config { name: name.into(), ..Config::default() }.validate(), Ok(()));
        }
        let labels = [("zone".into(), "edge-1".into()), ("example.org-rack_2".into(), "é".repeat(128))];
        assert_eq!(Config { labels: labels.into(), ..Config::default() }.validate(), Ok(()));
    }

    #[test]
    fn a_worker_may_advertise_no_address() {
        let read = |text: &str| serde_json::from_value::<Advertise>(text.into()).map_err(|e| e.to_string());
        assert_eq!(read("none"), Ok(Advertise::None));
        let address = "http://worker-1:4003";
        assert_eq!(read(address), Ok(Advertise::Address(address.parse().expect("an endpoint"))));
        let error = read("nowhere").expect_err("no endpoint");
        assert!(error.contains("expected http://host:port") && error.ends_with("or none"), "{error}");
    }

    #[test]
    fn errors_name_the_key() {
        fn label(config: &mut Config, key: &str, value: &str) {
            config.labels.insert(key.into(), value.into());
        }
        assert_invalid::<Config>(&[
            ("name: \"\"", |c| c.name.clear()),
            ("name: \"a b\"", |c| c.name = "a b".into()),
            ("labels: the key \"a@b\"", |c| label(c, "a@b", "x")),
            ("labels: expected at most 64, not 65", |c| (0..65).for_each(|n| label(c, &n.to_string(), ""))),
            ("labels: the key \"\"", |c| label(c, "", "x")),
            ("labels: the key \"a b\"", |c| label(c, "a b", "x")),
            ("labels: the key \"aaaa", |c| label(c, &"a".repeat(257), "x")),
            ("labels.zone: expected a line of at most 256 bytes", |c| label(c, "zone", &"x".repeat(257))),
            ("labels.zone: expected a line", |c| label(c, "zone", "a\nb")),
            ("schedulers:", |c| c.schedulers.clear()),
            ("max_concurrent: 0", |c| c.max_concurrent = 0),
            ("max_percent_per_module: 101", |c| c.max_percent_per_module = 101),
            ("egress.functions.hello: ", |c| {
                drop(c.egress.functions.insert("hello".into(), Restriction::default()))
            }),
            ("memory_bytes: 1 ", |c| c.memory_bytes = 1),
            ("output_bytes: 16777216", |c| c.output_bytes = 16 << 20),
            ("log_ring_bytes: 16777216", |c| c.log_ring_bytes = 16 << 20),
            ("compile_memory_bytes: 1024 is out of range", |c| c.compile_memory_bytes = 1024),
            ("cache_bytes: 536870911 is out of range; expected 536870912 to", |c| {
                c.cache_bytes = (512 << 20) - 1
            }),
            ("idle_code_s: 0", |c| c.idle_code_s = 0),
            ("compile_cpu_s: 0", |c| c.compile_cpu_s = 0),
            ("compile_timeout_ms: 0", |c| c.compile_timeout_ms = 0),
        ]);
    }
}
