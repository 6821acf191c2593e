//! Runs invocations, each in a fresh instance within its limits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use mesh::deadline::Deadline;
use mesh::egress::Egress;
use mesh::fair_limit::FairLimit;
use mesh::receipt::{Receipt, micros};
use mesh::shutdown::Tasks;
use wasmtime::{Engine, Store};

use super::artifacts::Artifacts;
use super::code_cache::{CodeCache, CodeCacheParts};
use super::compiler::{CompileLimits, Compiler};
use super::engine::{self, EngineLimits};
use super::entry::Entry;
use super::host::{self, Console, Guest, GuestOptions, HttpClient};
use super::limits::Limits;
use super::loaded::LoadedCode;
use super::prepared::PreparedCode;
use super::response::Response;
use super::ticker::Ticker;
use super::time_slices::{CpuUsage, SliceEnd, TimeSlices};
use super::{backtrace, failure, instance, response};
use crate::budget::{Exhausted, HeldBytes, MemoryBudget};
use crate::code_source::CodeSource;
use crate::config::{self, Config};
use crate::error::Error;
use crate::logs::{LogSource, Logs};
use crate::metrics::Metrics;

/// One call of a function.
#[derive(Debug)]
pub(crate) struct Invocation {
    /// The module of the function, which shares the CPU with others.
    pub(crate) module: Arc<str>,
    /// What its log lines are labelled with.
    pub(crate) source: LogSource,
    /// One JSON value.
    pub(crate) args: HeldBytes,
    pub(crate) limits: Limits,
    /// When the caller stops waiting.
    pub(crate) deadline: Option<Deadline>,
}

/// The WebAssembly runtime with all that invocations share.
pub(crate) struct Runtime {
    pub(crate) code: CodeCache,
    engine: Engine,
    ticker: Ticker,
    time_slices: TimeSlices,
    http: Arc<HttpClient>,
    stack_bytes: usize,
    budget: MemoryBudget,
    logs: Logs,
    metrics: Metrics,
}

/// What a runtime is made from.
pub(crate) struct RuntimeParts {
    /// What functions may connect to.
    pub(crate) egress: Egress,
    /// The permits of all running invocations.
    pub(crate) permits: FairLimit,
    /// The memory for all guests.
    pub(crate) budget: MemoryBudget,
    /// Where code is fetched from.
    pub(crate) source: CodeSource,
    /// Where functions' logs are written to.
    pub(crate) logs: Logs,
    pub(crate) metrics: Metrics,
}

impl Runtime {
    /// A runtime with the limits of `config`.
    pub(crate) fn new(config: &Config, parts: RuntimeParts, tasks: &Tasks) -> anyhow::Result<Self> {
        let RuntimeParts { egress, permits, budget, source, logs, metrics } = parts;
        let (engine, layout) = engine::build(EngineLimits {
            instances: config.max_concurrent,
            memory_bytes: config.memory_bytes,
            stack_bytes: config.stack_bytes,
        })?;
        let linker = host::linker(&engine).map_err(|error| anyhow::anyhow!("{error:#}"))?;
        let http_timeout = Duration::from_millis(config.http_timeout_ms);
        let http = HttpClient::new(egress, http_timeout, config.http_body_bytes);
        let artifacts =
            Artifacts::open(&config.cache_dir, engine.clone(), config.cache_bytes, metrics.clone())?;
        let limits = CompileLimits {
            memory_bytes: config.compile_memory_bytes,
            cpu_s: config.compile_cpu_s,
            timeout: Duration::from_millis(config.compile_timeout_ms),
        };
        let program = config.compiler.clone();
        let compiler = Compiler::new(program, limits, layout, config.memory_bytes, artifacts.compatibility());
        let idle = Duration::from_secs(config.idle_code_s);
        let code = CodeCache::new(CodeCacheParts {
            linker,
            artifacts,
            source,
            compiler,
            concurrency: config.compile_threads,
            loaded: LoadedCode::new(config.module_cache_bytes, idle, metrics.clone()),
            worker: config.name.clone(),
            tasks: tasks.clone(),
            metrics: metrics.clone(),
        })?;
        Ok(Self {
            code,
            ticker: Ticker::start(engine.clone())?,
            time_slices: TimeSlices::new(config::cores(), permits),
            http: Arc::new(http.context("the functions' HTTP client")?),
            stack_bytes: config.stack_bytes,
            engine,
            budget,
            logs,
            metrics,
        })
    }

    /// Holds the arguments of an invocation, from their arrival on.
    pub(crate) fn hold(&self, args: Bytes) -> Result<HeldBytes, Error> {
        HeldBytes::new(&self.budget, args).map_err(|Exhausted { budget }| Error::NoMemoryToStart { budget })
    }

    /// Runs `code` once, and adds to `receipt` what that costs. Dropping the future stops the guest and
    /// frees its resources.
    pub(crate) async fn invoke(
        &self,
        code: &PreparedCode,
        invocation: Invocation,
        receipt: &mut Receipt,
    ) -> Result<Response, Error> {
        let Invocation { module, source, args, limits, deadline } = invocation;
        let _ticking = self.ticker.run();
        receipt.in_bytes = args.len() as u64;
        let input_len = i32::try_from(args.len()).map_err(|_| Error::BadRequest("args are too long"))?;
        let outbound = self.http.outbound(&source.function);
        let console = Console::new(self.logs.clone(), source, limits.log_bytes, &self.budget);
        let slice_end = SliceEnd::default();
        let guest = Guest::new(GuestOptions {
            command: matches!(code.entry, Entry::Command(_)),
            wasi: code.wasi,
            args,
            limits,
            console: console.clone(),
            http: self.http.clone(),
            outbound,
            budget: self.budget.clone(),
            slice_end: slice_end.clone(),
        });
        let mut store = Store::new(&self.engine, guest);
        store.limiter(|guest| &mut guest.meter);
        slice_end.watch(&mut store);

        let (until, timeout) = run_deadline(deadline, limits);
        let (started, mut usage) = (Instant::now(), CpuUsage::new(self.metrics.guest_cpu.clone()));
        let call = call(&mut store, code, input_len, &slice_end);
        let run = self.time_slices.run(&module, &slice_end, &mut usage, call);
        let ended = tokio::time::timeout_at(until.instant(), run).await;
        record_usage(receipt, started.elapsed(), &usage, store.data());
        console.finish();
        let response = match ended {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => self.unreturned(&error, store.data(), limits),
            Err(_) => Err(timeout),
        };
        receipt.out_bytes = response.as_ref().map_or(0, |response| response.outcome.bytes());
        response
    }

    /// What a guest said that ended without returning, or why it failed, which is logged.
    fn unreturned(&self, error: &wasmtime::Error, guest: &Guest, limits: Limits) -> Result<Response, Error> {
        // A guest that gets no more memory gives up in its own way: mostly it traps, or exits.
        if let Some(code) = response::exit_code(error)
            && guest.meter.refusal().is_none()
        {
            return Ok(response::exited(code, &guest.console).into());
        }
        let frames = backtrace::frames(error);
        let failure = failure::of(error, &frames, guest, limits, self.stack_bytes);
        if !matches!(failure, Error::Internal(_)) {
            guest.console.failed(&failure, &frames);
        }
        Err(failure)
    }
}

/// Calls a function, and checks its response.
async fn call(
    store: &mut Store<Guest>,
    code: &PreparedCode,
    input_len: i32,
    slice_end: &SliceEnd,
) -> wasmtime::Result<Result<Response, Error>> {
    let value = match instance::call(store, code, input_len).await {
        Err(error) if response::exit_code(&error) == Some(0) => 0,
        returned => returned?,
    };
    Ok(response::returned(&code.entry, store.data_mut(), value, slice_end).await)
}

/// Adds to `receipt` what a run cost that took `elapsed`.
fn record_usage(receipt: &mut Receipt, elapsed: Duration, usage: &CpuUsage, guest: &Guest) {
    receipt.queue_us += micros(usage.waiting);
    receipt.instantiate_us = micros(guest.instantiation);
    receipt.run_us = micros(elapsed.saturating_sub(guest.instantiation).saturating_sub(usage.waiting));
    receipt.cpu_us = micros(usage.cpu);
    receipt.peak_memory_bytes = guest.meter.used();
    receipt.http_requests = guest.http_requests();
}

/// The earlier of the caller's deadline and the function's time limit, and the error when it passes.
fn run_deadline(callers_deadline: Option<Deadline>, limits: Limits) -> (Deadline, Error) {
    let own = Deadline::after(limits.timeout);
    let in_ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    match callers_deadline {
        Some(deadline) if deadline < own => {
            (deadline, Error::CallersDeadline { left_ms: in_ms(deadline.remaining()) })
        }
        _ => (own, Error::TimeLimit { limit_ms: in_ms(limits.timeout) }),
    }
}
