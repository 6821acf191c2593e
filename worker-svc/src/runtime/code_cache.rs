//! Code that is ready to run, from three levels: memory, artifacts on disk, the registry.
//!
//! Code is fetched and compiled once, however many invocations wait for it, and in turn (`queue`).
//!
//! Functions are prepared on disk. Their code is in memory from their first invocation until they are idle (`loaded`).

mod compile;
mod upkeep;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use mesh::hash::Hash;
use mesh::inner_span;
use mesh::shutdown::Tasks;
use mesh::telemetry::Traced as _;
use moka::sync::Cache;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use tracing::field::Empty;
use wasmtime::{Linker, Module};

use super::artifacts::Artifacts;
use super::compiler::Compiler;
use super::host::Guest;
use super::loaded::LoadedCode;
use super::loaded_list::LoadedList;
use super::prepared::PreparedCode;
use super::queue::{Demand, FairQueue};
use super::unusable::UnusableCode;
use crate::code_source::CodeSource;
use crate::error::Error;
use crate::metrics::{CacheLevel, CodePhase, Metrics};

/// How long code that cannot be used is not tried again.
const FAILED_TTL: Duration = Duration::from_secs(30);
const FAILED_ENTRIES: u64 = 10_000;
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

/// Where somebody wants some code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    Disk,
    Memory,
}

/// The preparation of some code.
struct InFlight {
    result: SharedResult,
    demand: Arc<Demand>,
    /// What the callers want.
    goal: Goal,
    /// Cancelled when no function uses the code any more.
    unused: CancellationToken,
}

/// The preparation of some code, as one caller sees it.
struct Joined {
    result: SharedResult,
    /// Another caller started it.
    started_before: bool,
}

/// Nothing: nobody waits for the code, and the disk has no room for it.
type Preparation = Result<Option<ReadyCode>, Error>;
type SharedResult = Shared<BoxFuture<'static, Preparation>>;
type AllInFlight = Arc<Mutex<HashMap<Hash, InFlight>>>;

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
    pub(super) loaded: LoadedCode,
    /// The name of the worker.
    pub(super) worker: String,
    pub(super) tasks: Tasks,
    pub(super) metrics: Metrics,
}

struct Inner {
    linker: Linker<Guest>,
    loaded: LoadedCode,
    /// What was in memory when the worker stopped.
    loaded_list: Mutex<LoadedList>,
    /// Code that has failed lately, for any reason.
    failed: Cache<Hash, Error>,
    in_flight: AllInFlight,
    artifacts: Artifacts,
    /// Shared by the compilations whose artifacts are not stored yet.
    unstored: Arc<()>,
    /// Code that cannot be used.
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
        let CodeCacheParts {
            linker,
            artifacts,
            source,
            compiler,
            concurrency,
            loaded,
            worker,
            tasks,
            metrics,
        } = parts;
        Ok(Self(Arc::new(Inner {
            linker,
            loaded,
            loaded_list: Mutex::new(LoadedList::open(artifacts.dir(), &worker)),
            failed: Cache::builder().max_capacity(FAILED_ENTRIES).time_to_live(FAILED_TTL).build(),
            in_flight: Arc::default(),
            unusable: Arc::new(UnusableCode::open(artifacts.dir(), compiler.identity())?),
            artifacts,
            unstored: Arc::default(),
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

    /// The code with this hash, ready to run. If it has to be prepared first, `demand` decides when it is its turn.
    pub(crate) async fn get(&self, hash: Hash, demand: &Arc<Demand>) -> Result<ReadyCode, Error> {
        if let Some(code) = self.0.loaded.get(&hash) {
            self.0.metrics.found_code(CacheLevel::Memory);
            return Ok(ReadyCode::in_memory(code));
        }
        if let Some(error) = self.0.failed.get(&hash) {
            return Err(error);
        }
        let since = Instant::now();
        let mut waited = false;
        loop {
            let Joined { result, started_before } = self.join_or_start(hash, demand, Goal::Memory);
            waited |= started_before;
            let prepared = match started_before {
                true => result.instrument(inner_span!("queue", funless.waits_for = "code")).await?,
                false => result.await?,
            };
            // Nothing, if nobody had waited for it before this call.
            if let Some(ready) = prepared {
                let queued = Phases { queue: since.elapsed(), ..Phases::default() };
                let phases = if waited { queued } else { ready.phases };
                return Ok(ReadyCode { code: ready.code, phases });
            }
        }
    }

    /// Makes sure that this code can be used, and that its artifact is on disk. It is not loaded. Returns false if
    /// nobody waits for it and the disk has no room: then it is compiled when it is called.
    pub(crate) async fn prepare(&self, hash: Hash, demand: &Arc<Demand>) -> Result<bool, Error> {
        if self.is_prepared(&hash) {
            return Ok(true);
        }
        if let Some(error) = self.0.failed.get(&hash) {
            return Err(error);
        }
        loop {
            let prepared = self.join_or_start(hash, demand, Goal::Disk).result.await?;
            // Nothing, if nobody had waited for it before this call.
            if prepared.is_some() || !demand.is_awaited() {
                return Ok(prepared.is_some());
            }
        }
    }

    /// Whether this code needs not be compiled.
    pub(crate) fn is_prepared(&self, hash: &Hash) -> bool {
        self.0.artifacts.contains(hash) || self.0.loaded.contains(hash)
    }

    /// Ends when code has been prepared, or evicted from disk. For one caller.
    pub(crate) async fn changed(&self) {
        self.0.artifacts.changed().await;
    }

    /// The code that has been prepared, or evicted from disk, since the last call.
    pub(crate) fn take_changed(&self) -> HashSet<Hash> {
        self.0.artifacts.take_changed()
    }

    /// Removes code that no function uses any more, on disk, too, and stops its compilation. Invocations that run
    /// it continue.
    pub(crate) async fn remove(&self, hash: Hash) {
        if let Some(in_flight) = self.0.in_flight.lock().get(&hash) {
            in_flight.unused.cancel();
        }
        self.0.loaded.remove(&hash);
        self.0.failed.invalidate(&hash);
        let artifacts = self.0.artifacts.clone();
        let _ = blocking(move || artifacts.remove(&hash)).await;
    }

    /// Removes all artifacts but those of `used` code.
    pub(crate) async fn retain_artifacts(&self, used: impl Fn(&Hash) -> bool + Send + 'static) {
        let (artifacts, in_use) = (self.0.artifacts.clone(), self.0.in_use());
        let retaining = blocking(move || {
            artifacts.retain(used);
            artifacts.trim(in_use);
        });
        let _ = retaining.await;
    }

    /// Joins the preparation of this code, or starts one, which goes on if its caller goes away.
    fn join_or_start(&self, hash: Hash, demand: &Arc<Demand>, goal: Goal) -> Joined {
        let mut in_flight = self.0.in_flight.lock();
        if let Some(known) = in_flight.get_mut(&hash) {
            if demand.is_awaited() {
                known.demand.await_it();
            }
            if goal == Goal::Memory {
                known.goal = goal;
            }
            return Joined { result: known.result.clone(), started_before: true };
        }
        // A preparation may have ended since the caller looked.
        if let Some(code) = self.0.loaded.get(&hash) {
            let result = futures::future::ready(Ok(Some(ReadyCode::in_memory(code)))).boxed().shared();
            return Joined { result, started_before: false };
        }
        let (sender, receiver) = oneshot::channel();
        let (inner, demanded, unused) = (Arc::clone(&self.0), Arc::clone(demand), CancellationToken::new());
        let cancelled = unused.clone();
        let preparation = async move {
            let mut guard = InFlightGuard { inner: &inner, hash, code: None };
            let prepared = inner.prepare(hash, &demanded, &cancelled).await;
            match &prepared {
                Ok(Some((ready, _))) => guard.code = Some(Arc::clone(&ready.code)),
                Err(error @ Error::CodeUnusable(_)) => inner.failed.insert(hash, error.clone()),
                Ok(None) | Err(_) => {}
            }
            drop(guard);
            let prepared = prepared.map(|prepared| {
                let (ready, level) = prepared?;
                inner.metrics.found_code(level);
                Some(ready)
            });
            let _ = sender.send(prepared);
        };
        self.0.tasks.spawn(preparation.in_current_trace());
        let result = receiver.map(|prepared| prepared.unwrap_or(Err(Error::Draining))).boxed().shared();
        let demand = Arc::clone(demand);
        in_flight.insert(hash, InFlight { result: result.clone(), demand, goal, unused });
        Joined { result, started_before: false }
    }
}

/// Ends the preparation of some code, however it goes: the next caller finds the code in memory, if it was wanted
/// there, or starts another preparation.
struct InFlightGuard<'a> {
    inner: &'a Inner,
    hash: Hash,
    code: Option<Arc<PreparedCode>>,
}

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        let mut in_flight = self.inner.in_flight.lock();
        let ended = in_flight.remove(&self.hash);
        if let Some(code) = self.code.take()
            && ended.is_some_and(|ended| ended.goal == Goal::Memory)
        {
            self.inner.loaded.insert(self.hash, code);
        }
    }
}

impl Inner {
    /// Whether code is in memory or being prepared: then its artifact stays on disk.
    fn in_use(&self) -> impl Fn(&Hash) -> bool + Send + use<> {
        let (loaded, in_flight) = (self.loaded.clone(), Arc::clone(&self.in_flight));
        move |hash| loaded.contains(hash) || in_flight.lock().contains_key(hash)
    }

    /// Prepares code, and tells where it was found. Nothing: see `Preparation`.
    async fn prepare(
        &self,
        hash: Hash,
        demand: &Arc<Demand>,
        unused: &CancellationToken,
    ) -> Result<Option<(ReadyCode, CacheLevel)>, Error> {
        if let Some(reason) = self.unusable.reason(&hash) {
            return Err(Error::CodeUnusable(reason));
        }
        let mut phases = Phases::default();
        let (module, level) = match self.load(hash, demand, &mut phases).await {
            Some(module) => (module, CacheLevel::Disk),
            None => {
                let compiling = self.fetch_and_compile(hash, demand, &mut phases);
                let compiled = unused.run_until_cancelled(compiling).await;
                let Some((artifact, _unstored)) = compiled.unwrap_or(Err(Error::CodeNotFound))? else {
                    return Ok(None);
                };
                (self.keep(hash, artifact).await?, CacheLevel::Registry)
            }
        };
        let code = self.link(hash, &module).await?;
        Ok(Some((ReadyCode { code: Arc::new(code), phases }, level)))
    }

    /// Links a module. If that fails, it is remembered, and its artifact removed.
    async fn link(&self, hash: Hash, module: &Module) -> Result<PreparedCode, Error> {
        match PreparedCode::link(&self.linker, module) {
            Err(Error::CodeUnusable(reason)) => Err(self.refuse(hash, reason).await),
            linked => linked,
        }
    }

    async fn load(&self, hash: Hash, demand: &Arc<Demand>, phases: &mut Phases) -> Option<Module> {
        let queued = Instant::now();
        let _turn = self.turns.load.acquire(demand).await;
        let started = Instant::now();
        let artifacts = self.artifacts.clone();
        let loading = blocking(move || artifacts.load(&hash));
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

    /// Loads an artifact, and stores it if it can be used.
    async fn keep(&self, hash: Hash, artifact: File) -> Result<Module, Error> {
        let artifacts = self.artifacts.clone();
        let loading = move || (artifacts.load_new(&artifact), artifact);
        let (module, artifact) = blocking(loading).await?;
        let module = match module {
            Ok(module) => module,
            Err(error) => return Err(self.refuse(hash, format!("{error:#}")).await),
        };
        self.link(hash, &module).await?;
        let (artifacts, in_use) = (self.artifacts.clone(), self.in_use());
        let stored = blocking(move || artifacts.store_and_load(&hash, artifact, in_use)).await?;
        Ok(stored.unwrap_or(module))
    }

    /// Remembers that code cannot be used, and returns the error.
    async fn refuse(&self, hash: Hash, reason: String) -> Error {
        let (unusable, artifacts, remembered) =
            (Arc::clone(&self.unusable), self.artifacts.clone(), reason.clone());
        let remembering = blocking(move || {
            unusable.remember(hash, &remembered);
            artifacts.remove(&hash);
        });
        let _ = remembering.await;
        Error::CodeUnusable(reason)
    }
}

/// Runs `work` on a thread that may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::Internal(error.to_string()))
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
