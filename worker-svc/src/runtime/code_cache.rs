//! Code that is ready to run, from three levels: memory, artifacts on disk, the registry.
//!
//! Code is fetched and compiled once, however many invocations wait for it, and in turn (`queue`). A compilation that
//! takes long leaves its turn to others: there is one further slot for those.

use std::collections::HashMap;
use std::fs::File;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use mesh::hash::Hash;
use mesh::inner_span;
use mesh::metrics::read_gauges;
use mesh::shutdown::Tasks;
use mesh::telemetry::Traced as _;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use parking_lot::Mutex;
use prometheus::Registry;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use tracing::field::Empty;
use wasmtime::{Linker, Module};

use super::artifacts::Artifacts;
use super::compiler::{CompileError, Compiler};
use super::host::Guest;
use super::prepared::PreparedCode;
use super::queue::{Demand, FairQueue, Slot};
use super::unusable::UnusableCode;
use crate::code_source::CodeSource;
use crate::error::Error;
use crate::metrics::{CacheLevel, CodePhase, Metrics};

/// How long code that cannot be used is not tried again.
const FAILED_TTL: Duration = Duration::from_secs(30);
const FAILED_ENTRIES: u64 = 10_000;
/// How long a compilation goes on while others wait for its slot.
const SHORT_COMPILATION: Duration = Duration::from_secs(2);
/// Compilations at once that take longer, beside the others.
const LONG_COMPILATIONS: usize = 1;

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
    demand: Arc<Demand>,
    /// Cancelled when no function uses the code any more.
    unused: CancellationToken,
}

/// The preparation of some code, as one caller sees it.
struct Joined {
    result: SharedResult,
    /// Another caller started it.
    started_before: bool,
}

type SharedResult = Shared<BoxFuture<'static, Result<ReadyCode, Error>>>;

/// The worker's code. Cheap to clone.
#[derive(Clone)]
pub(crate) struct CodeCache(Arc<Inner>);

/// What a cache is made of.
pub(super) struct CodeCacheParts {
    pub(super) linker: Linker<Guest>,
    pub(super) artifacts: Artifacts,
    pub(super) source: CodeSource,
    pub(super) compiler: Compiler,
    /// Compilations at once.
    pub(super) concurrency: usize,
    /// The most code in memory.
    pub(super) memory_bytes: u64,
    pub(super) tasks: Tasks,
    pub(super) metrics: Metrics,
}

struct Inner {
    linker: Linker<Guest>,
    ready: Cache<Hash, Arc<PreparedCode>>,
    /// Code that has failed lately, for any reason.
    failed: Cache<Hash, Error>,
    in_flight: Mutex<HashMap<Hash, InFlight>>,
    artifacts: Artifacts,
    /// Code that cannot be compiled.
    unusable: Arc<UnusableCode>,
    source: CodeSource,
    compiler: Compiler,
    turns: Turns,
    tasks: Tasks,
    metrics: Metrics,
}

/// Whose turn it is to use the disk and the compiler. Their slots bound the memory of code on its way.
struct Turns {
    load: FairQueue,
    compile: FairQueue,
    compile_long: FairQueue,
}

impl CodeCache {
    /// An empty cache.
    pub(super) fn new(parts: CodeCacheParts) -> anyhow::Result<Self> {
        let CodeCacheParts { linker, artifacts, source, compiler, concurrency, memory_bytes, tasks, metrics } =
            parts;
        let ready = Cache::builder()
            .max_capacity(memory_bytes)
            .weigher(|_, code: &Arc<PreparedCode>| u32::try_from(code.bytes).unwrap_or(u32::MAX))
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Ok(Self(Arc::new(Inner {
            linker,
            ready,
            failed: Cache::builder().max_capacity(FAILED_ENTRIES).time_to_live(FAILED_TTL).build(),
            in_flight: Mutex::default(),
            unusable: Arc::new(UnusableCode::open(artifacts.dir(), compiler.identity())?),
            artifacts,
            source,
            compiler,
            turns: Turns {
                load: FairQueue::new(concurrency + 1),
                compile: FairQueue::new(concurrency),
                compile_long: FairQueue::new(LONG_COMPILATIONS),
            },
            tasks,
            metrics,
        })))
    }

    /// Registers the metrics of the queues.
    pub(crate) fn register_metrics(&self, registry: &Registry) {
        let inner = Arc::clone(&self.0);
        let help = "Code that waits for the compiler, by whether somebody waits for the code.";
        read_gauges(registry, "funless_worker_code_waiting", help, &["priority"], move || {
            let (short, long) = (inner.turns.compile.waiting(), inner.turns.compile_long.waiting());
            let gauge = |priority: &str, waiting: usize| (vec![priority.to_owned()], waiting as f64);
            vec![gauge("awaited", short.0 + long.0), gauge("background", short.1 + long.1)]
        });
    }

    /// The code with this hash, ready to run. If it has to be prepared first, `demand` decides when it is its turn.
    pub(crate) async fn get(&self, hash: Hash, demand: &Arc<Demand>) -> Result<ReadyCode, Error> {
        if let Some(code) = self.0.ready.get(&hash) {
            self.0.metrics.found_code(CacheLevel::Memory);
            return Ok(ReadyCode::in_memory(code));
        }
        if let Some(error) = self.0.failed.get(&hash) {
            return Err(error);
        }
        let Joined { result, started_before } = self.join_or_start(hash, demand);
        if !started_before {
            return result.await;
        }
        let since = Instant::now();
        let ready = result.instrument(inner_span!("queue", funless.waits_for = "code")).await?;
        Ok(ReadyCode { code: ready.code, phases: Phases { queue: since.elapsed(), ..Phases::default() } })
    }

    /// Removes code that no function uses any more, on disk, too, and stops its compilation. Invocations that run
    /// it continue.
    pub(crate) async fn remove(&self, hash: Hash) {
        if let Some(in_flight) = self.0.in_flight.lock().get(&hash) {
            in_flight.unused.cancel();
        }
        self.0.ready.invalidate(&hash);
        self.0.failed.invalidate(&hash);
        let artifacts = self.0.artifacts.clone();
        let _ = tokio::task::spawn_blocking(move || artifacts.remove(&hash)).await;
    }

    /// Removes all artifacts but those of `used` code.
    pub(crate) async fn retain_artifacts(&self, used: impl Fn(&Hash) -> bool + Send + 'static) {
        let artifacts = self.0.artifacts.clone();
        let _ = tokio::task::spawn_blocking(move || artifacts.retain(used)).await;
    }

    /// Joins the preparation of this code, or starts one, which goes on if its caller goes away.
    fn join_or_start(&self, hash: Hash, demand: &Arc<Demand>) -> Joined {
        let mut in_flight = self.0.in_flight.lock();
        if let Some(known) = in_flight.get(&hash) {
            if demand.is_awaited() {
                known.demand.await_it();
            }
            return Joined { result: known.result.clone(), started_before: true };
        }
        // A preparation may have ended since the caller looked.
        if let Some(code) = self.0.ready.get(&hash) {
            let result = futures::future::ready(Ok(ReadyCode::in_memory(code))).boxed().shared();
            return Joined { result, started_before: false };
        }
        let (sender, receiver) = oneshot::channel();
        let (inner, demanded, unused) = (Arc::clone(&self.0), Arc::clone(demand), CancellationToken::new());
        let cancelled = unused.clone();
        let preparation = async move {
            let _guard = InFlightGuard { inner: &inner, hash };
            let prepared = inner.prepare(hash, &demanded, &cancelled).await;
            match &prepared {
                Ok(ready) => inner.ready.insert(hash, Arc::clone(&ready.code)),
                Err(error @ Error::CodeUnusable(_)) => inner.failed.insert(hash, error.clone()),
                Err(_) => {}
            }
            let _ = sender.send(prepared);
        };
        self.0.tasks.spawn(preparation.in_current_trace());
        let result = receiver.map(|prepared| prepared.unwrap_or(Err(Error::Draining))).boxed().shared();
        in_flight.insert(hash, InFlight { result: result.clone(), demand: Arc::clone(demand), unused });
        Joined { result, started_before: false }
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
    async fn prepare(
        &self,
        hash: Hash,
        demand: &Arc<Demand>,
        unused: &CancellationToken,
    ) -> Result<ReadyCode, Error> {
        if let Some(reason) = self.unusable.reason(&hash) {
            return Err(Error::CodeUnusable(reason));
        }
        let mut phases = Phases::default();
        let module = match self.load(hash, demand, &mut phases).await {
            Some(module) => {
                self.metrics.found_code(CacheLevel::Disk);
                module
            }
            None => {
                let compiling = self.fetch_and_compile(hash, demand, &mut phases);
                let compiled = unused.run_until_cancelled(compiling).await;
                let module = self.keep(hash, compiled.unwrap_or(Err(Error::CodeNotFound))?).await?;
                self.metrics.found_code(CacheLevel::Registry);
                module
            }
        };
        Ok(ReadyCode { code: Arc::new(PreparedCode::link(&self.linker, &module)?), phases })
    }

    async fn load(&self, hash: Hash, demand: &Arc<Demand>, phases: &mut Phases) -> Option<Module> {
        let queued = Instant::now();
        let _turn = self.turns.load.acquire(demand).await;
        let started = Instant::now();
        let artifacts = self.artifacts.clone();
        let loading = tokio::task::spawn_blocking(move || artifacts.load(&hash));
        let span = inner_span!("load", funless.found = Empty);
        let module = loading.instrument(span.clone()).await.ok().flatten();
        span.record("funless.found", module.is_some());
        phases.queue += started - queued;
        if module.is_some() {
            phases.load = started.elapsed();
            self.metrics.ended_phase(CodePhase::Load, phases.load);
        }
        module
    }

    /// Returns the artifact of this code, which is compiled when it is its turn.
    async fn fetch_and_compile(
        &self,
        hash: Hash,
        demand: &Arc<Demand>,
        phases: &mut Phases,
    ) -> Result<File, Error> {
        let turn = wait_for_turn(&self.turns.compile, demand, phases).await;
        let code = self.fetch(hash, phases).await?;
        let started = Instant::now();
        let span = inner_span!("compile", funless.code.bytes = code.len());
        if let Some(ended) = self.compile_until_others_wait(turn, demand, &code).instrument(span).await {
            return self.compiled(hash, ended, started, phases).await;
        }
        tracing::debug!(%hash, "the compilation takes long: others go first");
        drop(code);
        let _turn = wait_for_turn(&self.turns.compile_long, demand, phases).await;
        let code = self.fetch(hash, phases).await?;
        let started = Instant::now();
        let span = inner_span!("compile", funless.code.bytes = code.len());
        let ended = self.compiler.compile(&code).instrument(span).await;
        self.compiled(hash, ended, started, phases).await
    }

    async fn fetch(&self, hash: Hash, phases: &mut Phases) -> Result<BytesMut, Error> {
        let started = Instant::now();
        let code = self.source.fetch(hash).instrument(inner_span!("fetch")).await?;
        let took = started.elapsed();
        phases.fetch += took;
        self.metrics.ended_phase(CodePhase::Fetch, took);
        Ok(code)
    }

    /// Compiles `code`. If that takes long, it moves to a slot for long compilations as soon as one is free, and
    /// stops if others wait for its own: then there is no result.
    async fn compile_until_others_wait(
        &self,
        turn: Slot,
        demand: &Arc<Demand>,
        code: &[u8],
    ) -> Option<Result<File, CompileError>> {
        let mut compiling = pin!(self.compiler.compile(code));
        if let Ok(ended) = tokio::time::timeout(SHORT_COMPILATION, &mut compiling).await {
            return Some(ended);
        }
        let _long_turn = tokio::select! {
            biased;
            ended = &mut compiling => return Some(ended),
            turn = self.turns.compile_long.acquire(demand) => turn,
            () = self.turns.compile.contended() => return None,
        };
        drop(turn);
        Some(compiling.await)
    }

    /// Counts a compilation that has ended. If the code is to blame for its failure, that is remembered.
    async fn compiled(
        &self,
        hash: Hash,
        ended: Result<File, CompileError>,
        started: Instant,
        phases: &mut Phases,
    ) -> Result<File, Error> {
        let error = match ended {
            Ok(artifact) => {
                phases.compile = started.elapsed();
                self.metrics.ended_phase(CodePhase::Compile, phases.compile);
                return Ok(artifact);
            }
            Err(error) => error,
        };
        self.metrics.failed_to_compile(error.label());
        if let CompileError::Platform(reason) = error {
            tracing::error!(%hash, reason, "the compiler does not work");
            return Err(Error::Internal(reason));
        }
        let reason = error.to_string();
        if error.is_of_code() {
            self.remember_unusable(hash, reason.clone()).await;
        }
        Err(Error::CodeUnusable(reason))
    }

    /// Loads an artifact, and stores it.
    async fn keep(&self, hash: Hash, artifact: File) -> Result<Module, Error> {
        let artifacts = self.artifacts.clone();
        let kept = tokio::task::spawn_blocking(move || artifacts.keep(&hash, artifact)).await;
        let kept = kept.map_err(|error| Error::Internal(error.to_string()))?;
        match kept {
            Ok(module) => Ok(module),
            Err(error) => {
                let reason = format!("{error:#}");
                self.remember_unusable(hash, reason.clone()).await;
                Err(Error::CodeUnusable(reason))
            }
        }
    }

    async fn remember_unusable(&self, hash: Hash, reason: String) {
        let unusable = Arc::clone(&self.unusable);
        let _ = tokio::task::spawn_blocking(move || unusable.remember(hash, &reason)).await;
    }
}

/// Waits for a slot, and adds the time to `phases`.
async fn wait_for_turn(queue: &FairQueue, demand: &Arc<Demand>, phases: &mut Phases) -> Slot {
    let queued = Instant::now();
    let slot = queue.acquire(demand).instrument(inner_span!("queue", funless.waits_for = "compiler")).await;
    phases.queue += queued.elapsed();
    slot
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
