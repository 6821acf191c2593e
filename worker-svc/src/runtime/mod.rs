//! Runs functions: wasmtime and everything around it.

mod artifacts;
mod backtrace;
mod code_cache;
mod compiler;
mod engine;
mod entry;
mod excerpt;
mod host;
mod invoke;
pub(crate) mod limits;
mod prepared;
#[cfg(test)]
pub(crate) mod testing;
mod ticker;
mod time_slices;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use mesh::shutdown::Tasks;
use wasmtime::Engine;

pub(crate) use self::code_cache::{CodeCache, ReadyCode};
pub(crate) use self::invoke::{Invocation, Outcome};

use self::artifacts::Artifacts;
use self::compiler::Compiler;
use self::engine::Capacity;
use self::host::HttpClient;
use self::ticker::Ticker;
use self::time_slices::TimeSlices;
use crate::code_source::CodeSource;
use crate::config::{self, Config};
use crate::logs::Logs;
use crate::metrics::Metrics;

/// What runs functions.
pub(crate) struct Runtime {
    pub(crate) code: CodeCache,
    engine: Engine,
    ticker: Ticker,
    time_slices: TimeSlices,
    http: Arc<HttpClient>,
    stack_bytes: usize,
    logs: Logs,
    metrics: Metrics,
}

impl Runtime {
    /// The runtime that `config` describes, with code from `source`. What functions log goes to `logs`.
    pub(crate) fn new(
        config: &Config,
        source: CodeSource,
        logs: Logs,
        tasks: &Tasks,
        metrics: Metrics,
    ) -> anyhow::Result<Self> {
        let engine = engine::build(Capacity {
            instances: config.max_concurrent,
            memory_bytes: config.memory_bytes,
            stack_bytes: config.stack_bytes,
        })?;
        let linker = host::linker(&engine).map_err(|error| anyhow::anyhow!("{error:#}"))?;
        let http_timeout = Duration::from_millis(config.http_timeout_ms);
        let http = HttpClient::new(http_timeout, config.http_body_bytes);
        let artifacts = Artifacts::open(&config.cache_dir, engine.clone())?;
        let compiler = Compiler::new(engine.clone(), artifacts.clone(), config.compile_threads)?;
        Ok(Self {
            code: CodeCache::new(
                linker,
                artifacts,
                source,
                compiler,
                config.module_cache_bytes,
                tasks.clone(),
                metrics.clone(),
            ),
            ticker: Ticker::start(engine.clone())?,
            time_slices: TimeSlices::new(config::cores()),
            http: Arc::new(http.context("the functions' HTTP client")?),
            stack_bytes: config.stack_bytes,
            engine,
            logs,
            metrics,
        })
    }
}
