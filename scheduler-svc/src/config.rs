//! The scheduler's configuration.

use mesh::config::{ServerConfig, ServiceConfig, TelemetryConfig};
use mesh::endpoint::Endpoint;
use serde::Deserialize;
use url::Url;

/// The scheduler's configuration. [`mesh::config`] says where it is read from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The listener; port 4002 by default.
    pub server: ServerConfig,
    /// Logs, traces and metrics.
    pub telemetry: TelemetryConfig,
    /// The registry.
    pub registry: Endpoint,
    /// The sink service, which takes the results of functions with sinks.
    pub sink: Endpoint,
    /// How often workers report, in milliseconds. A worker whose report is overdue for as long as this, and for one
    /// second, is removed.
    pub report_interval_ms: u32,
    /// How long a scheduler that has just started waits for workers to join before it refuses an invocation for lack of
    /// one, in milliseconds. 0: it does not wait.
    pub join_grace_ms: u32,
    /// The longest time that an invocation may take with its retries, in milliseconds. The deadline of the
    /// caller and the limit of the function are usually shorter.
    pub max_invocation_ms: u64,
    /// The most that the invocations of one module may use of `server.max_concurrent`, as a percentage; the rest is for
    /// other modules. 100: no limit.
    pub max_percent_per_module: u8,
    /// How many decisions are remembered, so that they can be explained.
    pub decisions_kept: usize,
    /// How many functions have metrics of their own: those that are invoked first. The others share the label
    /// `other`.
    pub functions_in_metrics: usize,
    /// The seed of the strategy `random`, for reproducible choices. Absent: any.
    pub random_seed: Option<u64>,
    /// The source of the workers' memory and CPU use: `reports` (their own), or `prometheus` (a server that
    /// scrapes them).
    pub metrics_source: MetricsSource,
    /// The URL of the Prometheus server, such as `http://prometheus:9090`.
    pub prometheus_url: Option<Url>,
    /// How often the Prometheus server is queried, in milliseconds: at most as often as it scrapes. Samples
    /// older than three times this do not count.
    pub prometheus_interval_ms: u64,
}

/// The source of the workers' memory and CPU use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricsSource {
    /// The workers' own reports.
    Reports,
    /// A Prometheus server; the reports while it is away.
    Prometheus,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: ServerConfig::on_port(4002),
            telemetry: TelemetryConfig::default(),
            registry: Endpoint::loopback(4001),
            sink: Endpoint::loopback(4005),
            report_interval_ms: 1000,
            join_grace_ms: 5000,
            max_invocation_ms: 15 * 60 * 1000,
            max_percent_per_module: 75,
            decisions_kept: 10_000,
            functions_in_metrics: 200,
            random_seed: None,
            metrics_source: MetricsSource::Reports,
            prometheus_url: None,
            prometheus_interval_ms: 5000,
        }
    }
}

impl Config {
    /// The URL of the Prometheus server, if it is the source of measurements.
    pub(crate) fn prometheus(&self) -> Option<&Url> {
        self.prometheus_url.as_ref().filter(|_| self.metrics_source == MetricsSource::Prometheus)
    }
}

fn validate_prometheus_url(url: &Url) -> Result<(), String> {
    let is_plain = url.username().is_empty() && url.password().is_none();
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() || url.query().is_some() || !is_plain {
        // The URL is not repeated, since it may hold a password.
        return Err(
            "prometheus_url: expected http://host:port or https://host:port, with an optional path, \
                    without a user or a query"
                .into(),
        );
    }
    Ok(())
}

impl ServiceConfig for Config {
    const NAME: &'static str = "scheduler";

    fn server(&self) -> &ServerConfig {
        &self.server
    }

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }

    fn validate(&self) -> Result<(), String> {
        if self.report_interval_ms == 0 {
            return Err("report_interval_ms: expected at least 1".into());
        }
        if self.join_grace_ms > 60_000 {
            return Err(format!(
                "join_grace_ms: {} is out of range; expected 0 to 60000",
                self.join_grace_ms
            ));
        }
        if !(1..=100).contains(&self.max_percent_per_module) {
            let given = self.max_percent_per_module;
            return Err(format!("max_percent_per_module: {given} is out of range; expected 1 to 100"));
        }
        if !(1..=1_000_000).contains(&self.decisions_kept) {
            return Err(format!(
                "decisions_kept: {} is out of range; expected 1 to 1000000",
                self.decisions_kept
            ));
        }
        if self.functions_in_metrics > 100_000 {
            let given = self.functions_in_metrics;
            return Err(format!("functions_in_metrics: {given} is out of range; expected 0 to 100000"));
        }
        self.prometheus_url.as_ref().map_or(Ok(()), validate_prometheus_url)?;
        if self.metrics_source == MetricsSource::Prometheus && self.prometheus_url.is_none() {
            return Err(
                "prometheus_url: needed since metrics_source is \"prometheus\"; expected a URL such as \
                        http://prometheus:9090"
                    .into(),
            );
        }
        if !(100..=3_600_000).contains(&self.prometheus_interval_ms) {
            return Err(format!(
                "prometheus_interval_ms: {} is out of range; expected 100 to 3600000",
                self.prometheus_interval_ms
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use mesh::testing::config::assert_invalid;

    use super::*;

    #[test]
    fn prometheus_needs_a_url() {
        let validate = |url: Option<&str>| {
            let prometheus_url = url.map(|url| url.parse().expect("well-formed"));
            let metrics_source = MetricsSource::Prometheus;
            Config { metrics_source, prometheus_url, ..Config::default() }.validate()
        };
        for good in ["http://p:9090", "https://p/prometheus/", "http://[::1]:9090"] {
            assert_eq!(validate(Some(good)), Ok(()), "{good}");
        }
        for bad in ["ftp://p", "unix:/p", "http://p?x=1", "http://ann:hunter2@p", "http://ann@p"] {
            let error = validate(Some(bad)).expect_err(bad);
            assert!(error.starts_with("prometheus_url: expected http://host:port"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let error = validate(None).expect_err("none");
        assert!(error.starts_with("prometheus_url: needed"), "{error}");
    }

    #[test]
    fn a_url_alone_is_not_used() {
        let prometheus_url = "http://p:9090".parse().ok();
        let config = Config { prometheus_url, ..Config::default() };
        assert_eq!(config.prometheus(), None);
        let config = Config { metrics_source: MetricsSource::Prometheus, ..config };
        assert_eq!(config.prometheus(), config.prometheus_url.as_ref());
    }

    #[test]
    fn errors_name_the_key() {
        assert_invalid::<Config>(&[
            ("report_interval_ms: ", |c| c.report_interval_ms = 0),
            ("join_grace_ms: 60001 ", |c| c.join_grace_ms = 60_001),
            ("max_percent_per_module: 0", |c| c.max_percent_per_module = 0),
            ("decisions_kept: 0", |c| c.decisions_kept = 0),
            ("functions_in_metrics: 100001 ", |c| c.functions_in_metrics = 100_001),
            ("prometheus_interval_ms: 99 ", |c| c.prometheus_interval_ms = 99),
            ("prometheus_interval_ms: 3600001 ", |c| c.prometheus_interval_ms = 3_600_001),
        ]);
    }
}
