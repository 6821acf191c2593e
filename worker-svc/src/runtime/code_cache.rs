//! Code that is ready to run, from three levels: memory, artifacts on disk, the registry.
//!
//! Code is fetched and compiled once, however many invocations wait for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use mesh::hash::Hash;
use mesh::inner_span;
use mesh::shutdown::Tasks;
use mesh::telemetry::Traced as _;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tracing::Instrument as _;
use tracing::field::Empty;
use wasmtime::{Linker, Module};

use super::artifacts::Artifacts;
use super::compiler::Compiler;
use super::host::Guest;
use super::prepared::PreparedCode;
use crate::code_source::CodeSource;
use crate::error::Error;
use crate::metrics::{CacheLevel, CodePhase, Metrics};

/// How long code that cannot be used is not tried again.
const UNUSABLE_TTL: Duration = Duration::from_secs(30);
const UNUSABLE_ENTRIES: u64 = 10_000;

/// Code that is ready to run, and how long that took.
#[derive(Clone)]
pub(crate) struct ReadyCode {
    pub(crate) code: Arc<PreparedCode>,
    pub(crate) phases: Phases,
}

/// How long a caller waited for each phase. All zero: the code was in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Phases {
    /// For a thread that compiles, or for the preparation that another caller started.
    pub(crate) queue: Duration,
    pub(crate) fetch: Duration,
    pub(crate) compile: Duration,
    pub(crate) load: Duration,
}

/// The preparation of some code.
struct InFlight {
    result: SharedResult,
    /// Another caller started it.
    joined: bool,
}

type SharedResult = Shared<BoxFuture<'static, Result<ReadyCode, Error>>>;

/// The worker's code. Cheap to clone.
#[derive(Clone)]
pub(crate) struct CodeCache(Arc<Inner>);

struct Inner {
    linker: Linker<Guest>,
    ready: Cache<Hash, Arc<PreparedCode>>,
    unusable: Cache<Hash, Error>,
    in_flight: Mutex<HashMap<Hash, SharedResult>>,
    artifacts: Artifacts,
    source: CodeSource,
    compiler: Compiler,
    tasks: Tasks,
    metrics: Metrics,
}

impl CodeCache {
    /// An empty cache that holds at most `memory_bytes` of code in memory.
    pub(super) fn new(
        linker: Linker<Guest>,
        artifacts: Artifacts,
        source: CodeSource,
        compiler: Compiler,
        memory_bytes: u64,
        tasks: Tasks,
        metrics: Metrics,
    ) -> Self {
        let ready = Cache::builder()
            .max_capacity(memory_bytes)
            .weigher(|_, code: &Arc<PreparedCode>| u32::try_from(code.bytes).unwrap_or(u32::MAX))
            .eviction_policy(EvictionPolicy::lru())
            .build();
        let unusable = Cache::builder().max_capacity(UNUSABLE_ENTRIES).time_to_live(UNUSABLE_TTL).build();
        let in_flight = Mutex::default();
        Self(Arc::new(Inner {
            linker,
            ready,
            unusable,
            in_flight,
            artifacts,
            source,
            compiler,
            tasks,
            metrics,
        }))
    }

    /// The code with this hash, ready to run.
    pub(crate) async fn get(&self, hash: Hash) -> Result<ReadyCode, Error> {
        if let Some(code) = self.0.ready.get(&hash) {
            self.0.metrics.found_code(CacheLevel::Memory);
            return Ok(ReadyCode::in_memory(code));
        }
        if let Some(error) = self.0.unusable.get(&hash) {
            return Err(error);
        }
        let InFlight { result, joined } = self.join_or_start(hash);
        if !joined {
            return result.await;
        }
        let since = Instant::now();
        let ready = result.instrument(inner_span!("queue", funless.waits_for = "code")).await?;
        Ok(ReadyCode { code: ready.code, phases: Phases { queue: since.elapsed(), ..Phases::default() } })
    }

    /// Removes code that no function uses any more, on disk, too. Invocations that run it continue.
    pub(crate) async fn remove(&self, hash: Hash) {
        self.0.ready.invalidate(&hash);
        self.0.unusable.invalidate(&hash);
        let artifacts = self.0.artifacts.clone();
        let _ = tokio::task::spawn_blocking(move || artifacts.remove(&hash)).await;
    }

    /// Removes all artifacts but those of `used` code.
    pub(crate) async fn retain_artifacts(&self, used: impl Fn(&Hash) -> bool + Send + 'static) {
        let artifacts = self.0.artifacts.clone();
        let _ = tokio::task::spawn_blocking(move || artifacts.retain(used)).await;
    }

    /// Joins the preparation of this code, or starts one, which goes on if its caller goes away.
    fn join_or_start(&self, hash: Hash) -> InFlight {
        let mut in_flight = self.0.in_flight.lock();
        if let Some(result) = in_flight.get(&hash) {
            return InFlight { result: result.clone(), joined: true };
        }
        // A preparation may have ended since the caller looked.
        if let Some(code) = self.0.ready.get(&hash) {
            let result = futures::future::ready(Ok(ReadyCode::in_memory(code))).boxed().shared();
            return InFlight { result, joined: false };
        }
        let (sender, receiver) = oneshot::channel();
        let inner = Arc::clone(&self.0);
        let preparation = async move {
            let _guard = InFlightGuard { inner: &inner, hash };
            let prepared = inner.prepare(hash).await;
            match &prepared {
                Ok(ready) => inner.ready.insert(hash, Arc::clone(&ready.code)),
                Err(error @ Error::CodeUnusable(_)) => inner.unusable.insert(hash, error.clone()),
                Err(_) => {}
            }
            let _ = sender.send(prepared);
        };
        self.0.tasks.spawn(preparation.in_current_trace());
        let result = receiver.map(|prepared| prepared.unwrap_or(Err(Error::Draining))).boxed().shared();
        in_flight.insert(hash, result.clone());
        InFlight { result, joined: false }
    }
}

/// Ends the preparation of some code, however it goes: the next caller starts another.
struct InFlightGuard<'a> {
    inner: &'a Inner,
    hash: Hash,
}

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        self.inner.in_flight.lock().remove(&self.hash);
    }
}

impl Inner {
    async fn prepare(&self, hash: Hash) -> Result<ReadyCode, Error> {
        let mut phases = Phases::default();
        let module = match self.load(hash, &mut phases).await {
            Some(module) => {
                self.metrics.found_code(CacheLevel::Disk);
                module
            }
            None => {
                let module = self.fetch_and_compile(hash, &mut phases).await?;
                self.metrics.found_code(CacheLevel::Registry);
                module
            }
        };
        Ok(ReadyCode { code: Arc::new(PreparedCode::link(&self.linker, &module)?), phases })
    }

    async fn load(&self, hash: Hash, phases: &mut Phases) -> Option<Module> {
        let artifacts = self.artifacts.clone();
        let started = Instant::now();
        let loading = tokio::task::spawn_blocking(move || artifacts.load(&hash));
        let span = inner_span!("load", funless.found = Empty);
        let module = loading.instrument(span.clone()).await.ok().flatten();
        span.record("funless.found", module.is_some());
        if module.is_some() {
            phases.load = started.elapsed();
            self.metrics.ended_phase(CodePhase::Load, phases.load);
        }
        module
    }

    async fn fetch_and_compile(&self, hash: Hash, phases: &mut Phases) -> Result<Module, Error> {
        let queued = Instant::now();
        let waiting = self.compiler.permit();
        let _permit = waiting.instrument(inner_span!("queue", funless.waits_for = "compiler")).await;
        let started = Instant::now();
        phases.queue = started - queued;
        let code = self.source.fetch(hash).instrument(inner_span!("fetch")).await?;
        let fetched = Instant::now();
        phases.fetch = fetched - started;
        self.metrics.ended_phase(CodePhase::Fetch, phases.fetch);
        tracing::debug!(%hash, bytes = code.len(), "compiling");
        let span = inner_span!("compile", funless.code.bytes = code.len());
        let module = self.compiler.compile(hash, code).instrument(span).await?;
        phases.compile = fetched.elapsed();
        self.metrics.ended_phase(CodePhase::Compile, phases.compile);
        Ok(module)
    }
}

impl ReadyCode {
    fn in_memory(code: Arc<PreparedCode>) -> Self {
        Self { code, phases: Phases::default() }
    }
}

impl Phases {
    /// Whether it was a cold start.
    pub(crate) fn is_cold(self) -> bool {
        self != Self::default()
    }
}
