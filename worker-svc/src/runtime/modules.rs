//! Code that is ready to run, from three levels: memory, artifacts on disk, the registry.
//!
//! However many invocations wait for the same code, it is fetched and compiled once.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
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
use tokio::sync::{Semaphore, oneshot};
use tracing::Instrument as _;
use tracing::field::Empty;
use wasmtime::{Engine, ExternType, InstancePre, Linker, Module, ModuleExport, ValType};

use super::artifacts::Artifacts;
use super::host::Guest;
use crate::code_source::CodeSource;
use crate::error::Error;
use crate::metrics::{Level, Metrics, Phase};

/// How long code that cannot be used is not tried again.
const BROKEN_TIME: Duration = Duration::from_secs(30);
const BROKEN_ENTRIES: u64 = 10_000;
/// What a module in memory costs beside its machine code, in bytes.
const MODULE_OVERHEAD: usize = 16 << 10;

/// Code that is ready to run.
pub(crate) struct Prepared {
    pub(crate) instance: InstancePre<Guest>,
    pub(crate) entry: Entry,
    pub(crate) memory: Option<ModuleExport>,
    /// What a library wants called before anything else.
    pub(crate) initialize: Option<ModuleExport>,
    /// Whether it imports WASI.
    pub(crate) wasi: bool,
    bytes: usize,
}

/// How code is called. What it is shows in what it exports, as at its upload.
pub(crate) enum Entry {
    /// FunLess' `__invoke(input_len) -> 0 or 1`.
    Invoke(ModuleExport),
    /// WASI's `_start()`.
    Command(ModuleExport),
}

/// Code that was asked for, and what it took to have it ready.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) code: Arc<Prepared>,
    pub(crate) phases: Phases,
}

/// How long whoever asks for code waits for what. All zero: it was ready.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Phases {
    /// A place among those that compile, or the end of what somebody else has begun.
    pub(crate) queue: Duration,
    pub(crate) fetch: Duration,
    pub(crate) compile: Duration,
    pub(crate) load: Duration,
}

/// The preparation of some code.
struct Flight {
    landing: Landing,
    /// It was begun for somebody else.
    joined: bool,
}

type Landing = Shared<BoxFuture<'static, Result<Found, Error>>>;

/// The worker's code. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Modules(Arc<Inner>);

struct Inner {
    linker: Linker<Guest>,
    ready: Cache<Hash, Arc<Prepared>>,
    broken: Cache<Hash, Error>,
    flights: Mutex<HashMap<Hash, Landing>>,
    artifacts: Artifacts,
    source: CodeSource,
    compiler: Compiler,
    tasks: Tasks,
    metrics: Metrics,
}

impl Modules {
    pub(crate) fn new(
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
            .weigher(|_, code: &Arc<Prepared>| u32::try_from(code.bytes).unwrap_or(u32::MAX))
            .eviction_policy(EvictionPolicy::lru())
            .build();
        let broken = Cache::builder().max_capacity(BROKEN_ENTRIES).time_to_live(BROKEN_TIME).build();
        let flights = Mutex::default();
        Self(Arc::new(Inner { linker, ready, broken, flights, artifacts, source, compiler, tasks, metrics }))
    }

    /// The code with this hash, ready to run.
    pub(crate) async fn get(&self, hash: Hash) -> Result<Found, Error> {
        if let Some(code) = self.0.ready.get(&hash) {
            self.0.metrics.found(Level::Memory);
            return Ok(Found::ready(code));
        }
        if let Some(error) = self.0.broken.get(&hash) {
            return Err(error);
        }
        let Flight { landing, joined } = self.flight(hash);
        if !joined {
            return landing.await;
        }
        let since = Instant::now();
        let Found { code, .. } = landing.instrument(inner_span!("queue", funless.waits_for = "code")).await?;
        Ok(Found { code, phases: Phases { queue: since.elapsed(), ..Phases::default() } })
    }

    /// Forgets code that no function uses any more, on disk too. What runs goes on.
    pub(crate) async fn forget(&self, hash: Hash) {
        self.0.ready.invalidate(&hash);
        self.0.broken.invalidate(&hash);
        let artifacts = self.0.artifacts.clone();
        let _ = tokio::task::spawn_blocking(move || artifacts.remove(&hash)).await;
    }

    /// Removes the artifacts of all code but this.
    pub(crate) async fn retain_artifacts(&self, used: impl Fn(&Hash) -> bool + Send + 'static) {
        let artifacts = self.0.artifacts.clone();
        let _ = tokio::task::spawn_blocking(move || artifacts.retain(used)).await;
    }

    /// Joins the preparation of this code, or starts it. It goes on when who started it goes away.
    fn flight(&self, hash: Hash) -> Flight {
        let mut flights = self.0.flights.lock();
        if let Some(landing) = flights.get(&hash) {
            return Flight { landing: landing.clone(), joined: true };
        }
        // It may have landed since the caller looked.
        if let Some(code) = self.0.ready.get(&hash) {
            let landing = futures::future::ready(Ok(Found::ready(code))).boxed().shared();
            return Flight { landing, joined: false };
        }
        let (landed, landing) = oneshot::channel();
        let inner = Arc::clone(&self.0);
        let preparation = async move {
            let _landing_strip = LandingStrip { inner: &inner, hash };
            let prepared = inner.prepare(hash).await;
            match &prepared {
                Ok(found) => inner.ready.insert(hash, Arc::clone(&found.code)),
                Err(error @ Error::CodeUnusable(_)) => inner.broken.insert(hash, error.clone()),
                Err(_) => {}
            }
            let _ = landed.send(prepared);
        };
        self.0.tasks.spawn(preparation.in_current_trace());
        let landing = landing.map(|prepared| prepared.unwrap_or(Err(Error::Draining))).boxed().shared();
        flights.insert(hash, landing.clone());
        Flight { landing, joined: false }
    }
}

/// Frees a hash for the next flight, however the one before it ended.
struct LandingStrip<'a> {
    inner: &'a Inner,
    hash: Hash,
}

impl Drop for LandingStrip<'_> {
    fn drop(&mut self) {
        self.inner.flights.lock().remove(&self.hash);
    }
}

impl Inner {
    async fn prepare(&self, hash: Hash) -> Result<Found, Error> {
        let mut phases = Phases::default();
        let module = match self.load(hash, &mut phases).await {
            Some(module) => {
                self.metrics.found(Level::Disk);
                module
            }
            None => {
                let module = self.fetch_and_compile(hash, &mut phases).await?;
                self.metrics.found(Level::Registry);
                module
            }
        };
        Ok(Found { code: Arc::new(Prepared::link(&self.linker, &module)?), phases })
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
            self.metrics.phase(Phase::Load, phases.load);
        }
        module
    }

    async fn fetch_and_compile(&self, hash: Hash, phases: &mut Phases) -> Result<Module, Error> {
        let asked = Instant::now();
        // Bounds the memory that waiting code takes.
        let waiting = self.compiler.places.acquire();
        let _place = waiting.instrument(inner_span!("queue", funless.waits_for = "compiler")).await;
        let started = Instant::now();
        phases.queue = started - asked;
        let code = self.source.fetch(hash).instrument(inner_span!("fetch")).await?;
        let fetched = Instant::now();
        phases.fetch = fetched - started;
        self.metrics.phase(Phase::Fetch, phases.fetch);
        tracing::debug!(%hash, bytes = code.len(), "compiling");
        let artifacts = self.artifacts.clone();
        let span = inner_span!("compile", funless.code.bytes = code.len());
        let compiling = self.compiler.run(move |engine| compile(engine, &artifacts, &hash, &code));
        let module = compiling.instrument(span).await?;
        phases.compile = fetched.elapsed();
        self.metrics.phase(Phase::Compile, phases.compile);
        Ok(module)
    }
}

impl Found {
    fn ready(code: Arc<Prepared>) -> Self {
        Self { code, phases: Phases::default() }
    }
}

impl Phases {
    /// Whether the code had to be made ready.
    pub(crate) fn is_cold(self) -> bool {
        self != Self::default()
    }
}

/// Compiles code and keeps the artifact. Without a disk it works all the same.
fn compile(engine: &Engine, artifacts: &Artifacts, hash: &Hash, code: &[u8]) -> Result<Module, Error> {
    let unusable = |error: wasmtime::Error| Error::CodeUnusable(format!("{error:#}"));
    let module = Module::from_binary(engine, code).map_err(unusable)?;
    let kept = module.serialize().map_err(unusable).map(|artifact| artifacts.store(hash, &artifact))?;
    match kept {
        // The artifact is mapped from its file: its clean pages cost no memory.
        Ok(()) => Ok(artifacts.load(hash).unwrap_or(module)),
        Err(error) => {
            tracing::warn!(%hash, %error, "a compiled artifact cannot be kept");
            Ok(module)
        }
    }
}

/// The threads that compile.
pub(crate) struct Compiler {
    engine: Engine,
    threads: rayon::ThreadPool,
    places: Semaphore,
}

impl Compiler {
    pub(crate) fn new(engine: Engine, threads: usize) -> anyhow::Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("compile-{index}"))
            .build()?;
        Ok(Self { engine, threads: pool, places: Semaphore::new(threads + 1) })
    }

    async fn run(
        &self,
        work: impl FnOnce(&Engine) -> Result<Module, Error> + Send + 'static,
    ) -> Result<Module, Error> {
        let (done, result) = oneshot::channel();
        let engine = self.engine.clone();
        self.threads.spawn(move || {
            // A panic here would end the process, and again after each restart.
            let made = std::panic::catch_unwind(AssertUnwindSafe(|| work(&engine)));
            let _ = done
                .send(made.unwrap_or_else(|_| Err(Error::CodeUnusable("the compiler failed on it".into()))));
        });
        result.await.unwrap_or_else(|_| Err(Error::Internal("the compiler has stopped".into())))
    }
}

impl Prepared {
    fn link(linker: &Linker<Guest>, module: &Module) -> Result<Self, Error> {
        let unusable = |words: &str| Err(Error::CodeUnusable(words.into()));
        let function = |name: &str, params: &[ValType], results: &[ValType]| match module.get_export(name) {
            Some(ExternType::Func(found)) => {
                let same = |found: &mut dyn Iterator<Item = ValType>, expected: &[ValType]| {
                    found.map(|t| t.to_string()).eq(expected.iter().map(ToString::to_string))
                };
                same(&mut found.params(), params) && same(&mut found.results(), results)
            }
            _ => false,
        };
        let entry = if let Some(invoke) = module.get_export_index("__invoke") {
            if !function("__invoke", &[ValType::I32], &[ValType::I32]) {
                return unusable("its export __invoke is no function that takes an i32 and returns an i32");
            }
            Entry::Invoke(invoke)
        } else if let Some(start) = module.get_export_index("_start") {
            if !function("_start", &[], &[]) {
                return unusable("its export _start is no function without parameters and results");
            }
            Entry::Command(start)
        } else {
            return unusable("it exports neither __invoke nor _start");
        };
        let memory = match module.get_export("memory") {
            Some(ExternType::Memory(_)) => module.get_export_index("memory"),
            _ => None,
        };
        let initialize = match &entry {
            Entry::Invoke(_) if function("_initialize", &[], &[]) => module.get_export_index("_initialize"),
            _ => None,
        };
        let wasi = module.imports().any(|import| import.module().starts_with("wasi_"));
        let image = module.image_range();
        let bytes = image.end.addr() - image.start.addr() + MODULE_OVERHEAD;
        let instance =
            linker.instantiate_pre(module).map_err(|error| Error::CodeUnusable(format!("{error:#}")))?;
        Ok(Self { instance, entry, memory, initialize, wasi, bytes })
    }
}
