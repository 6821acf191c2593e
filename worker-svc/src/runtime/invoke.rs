//! One run of a function: a fresh instance, its limits, and how it ended.

use std::time::{Duration, Instant};

use bytes::Bytes;
use mesh::deadline::Deadline;
use mesh::inner_span;
use mesh::receipt::{Receipt, micros};
use serde::de::IgnoredAny;
use tracing::Instrument as _;
use wasmtime::{
    AsContextMut, Extern, Instance, ModuleExport, PoolConcurrencyLimitError, Store, Trap, WasmParams,
    WasmResults,
};
use wasmtime_wasi::I32Exit;

use super::entry::Entry;
use super::host::{Console, Guest, GuestOptions, HostCallError};
use super::limits::Limits;
use super::prepared::PreparedCode;
use super::time_slices::{CpuUsage, SliceEnd};
use super::{Runtime, backtrace, excerpt};
use crate::error::Error;
use crate::logs::Source;

/// Of a response that is not valid JSON, what is quoted.
const QUOTED_BYTES: usize = 80;

/// One call of a function.
#[derive(Debug)]
pub(crate) struct Invocation {
    /// Whose it is, for the log.
    pub(crate) source: Source,
    /// One JSON value.
    pub(crate) args: Bytes,
    pub(crate) limits: Limits,
    /// When the caller stops waiting.
    pub(crate) deadline: Option<Deadline>,
}

/// What a function says at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Its result, one JSON value, as it wrote it.
    Result(Bytes),
    /// Its own error message.
    FunctionError(String),
}

impl Outcome {
    fn bytes(&self) -> u64 {
        match self {
            Self::Result(result) => result.len() as u64,
            Self::FunctionError(message) => message.len() as u64,
        }
    }
}

impl Runtime {
    /// Runs `code` once, and notes in `receipt` what that costs. Dropping the future stops the guest and
    /// frees all that it held.
    pub(crate) async fn invoke(
        &self,
        code: &PreparedCode,
        invocation: Invocation,
        receipt: &mut Receipt,
    ) -> Result<Outcome, Error> {
        let Invocation { source, args, limits, deadline } = invocation;
        let _ticking = self.ticker.run();
        receipt.in_bytes = args.len() as u64;
        let input_len = i32::try_from(args.len()).map_err(|_| Error::BadRequest("args are too long"))?;
        let console = Console::new(self.logs.clone(), source, limits.log_bytes);
        let guest = Guest::new(GuestOptions {
            command: matches!(code.entry, Entry::Command(_)),
            wasi: code.wasi,
            args,
            limits,
            console: console.clone(),
            http: self.http.clone(),
            memory_total: self.metrics.guest_memory.clone(),
        });
        let mut store = Store::new(&self.engine, guest);
        store.limiter(|guest| &mut guest.meter);
        let slice_end = SliceEnd::default();
        slice_end.watch(&mut store);

        let (until, too_late) = end_of(deadline, limits);
        let (started, mut usage) = (Instant::now(), CpuUsage::new(self.metrics.guest_cpu.clone()));
        let run = self.time_slices.run(&slice_end, &mut usage, call(&mut store, code, input_len));
        let ended = tokio::time::timeout_at(until.instant(), run).await;
        note(receipt, started.elapsed(), &usage, store.data());
        console.finish();
        let outcome = match ended {
            Ok(Ok(value)) => outcome(&code.entry, store.data_mut(), value),
            Ok(Err(error)) => match exit_code(&error) {
                Some(0) => outcome(&code.entry, store.data_mut(), 0),
                // A guest that gets no more memory gives up in its own way: mostly it traps, or exits.
                Some(code) if !store.data().meter.refused() => Ok(exited(code, &console)),
                _ => {
                    let frames = backtrace::frames(&error);
                    let failure = self.failure(&error, &frames, store.data(), limits);
                    if !matches!(failure, Error::Internal(_)) {
                        console.failed(&failure, &frames);
                    }
                    Err(failure)
                }
            },
            Err(_) => Err(too_late),
        };
        receipt.out_bytes = outcome.as_ref().map_or(0, Outcome::bytes);
        outcome
    }

    /// Why a run ended without returning, while the functions in `frames` were running.
    fn failure(&self, error: &wasmtime::Error, frames: &[String], guest: &Guest, limits: Limits) -> Error {
        tracing::debug!(error = format!("{error:?}"), "a guest ended badly");
        let misuse = error.downcast_ref::<HostCallError>();
        if misuse == Some(&HostCallError::OutputLimit) {
            return Error::OutputLimit { limit: limits.output_bytes };
        }
        if guest.meter.refused() {
            return Error::MemoryLimit { limit: limits.memory_bytes };
        }
        if error.is::<PoolConcurrencyLimitError>() {
            return Error::Internal(format!("the pool of instances is exhausted: {error:#}"));
        }
        let what = match (misuse, error.downcast_ref::<Trap>()) {
            (Some(misuse), _) => misuse.to_string(),
            (_, Some(Trap::StackOverflow)) => {
                return Error::StackLimit { limit: self.stack_bytes as u64 };
            }
            (_, Some(trap)) => in_words(trap),
            _ => error.root_cause().to_string(),
        };
        Error::Trapped(what + &backtrace::in_message(frames))
    }
}

/// Notes what a run cost that took so long.
fn note(receipt: &mut Receipt, took: Duration, usage: &CpuUsage, guest: &Guest) {
    receipt.queue_us += micros(usage.waiting);
    receipt.instantiate_us = micros(guest.instantiation);
    receipt.run_us = micros(took.saturating_sub(guest.instantiation).saturating_sub(usage.waiting));
    receipt.cpu_us = micros(usage.cpu);
    receipt.peak_memory_bytes = guest.meter.used();
    receipt.http_requests = guest.http_requests();
}

/// When the run ends at the latest, and what is said then.
fn end_of(callers: Option<Deadline>, limits: Limits) -> (Deadline, Error) {
    let own = Deadline::after(limits.timeout);
    let in_ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    match callers {
        Some(callers) if callers < own => {
            (callers, Error::CallersDeadline { left_ms: in_ms(callers.remaining()) })
        }
        _ => (own, Error::TimeLimit { limit_ms: in_ms(limits.timeout) }),
    }
}

/// Makes the instance and calls it. Gives what it returned, 0 for a command.
async fn call(store: &mut Store<Guest>, code: &PreparedCode, input_len: i32) -> wasmtime::Result<i32> {
    let started = Instant::now();
    let instance = code.instance.instantiate_async(&mut *store).instrument(inner_span!("instantiate")).await;
    store.data_mut().instantiation = started.elapsed();
    run(store, code, &instance?, input_len).instrument(inner_span!("run")).await
}

async fn run(
    store: &mut Store<Guest>,
    code: &PreparedCode,
    instance: &Instance,
    input_len: i32,
) -> wasmtime::Result<i32> {
    if let Some(memory) = &code.memory {
        store.data_mut().memory =
            instance.get_module_export(&mut *store, memory).and_then(Extern::into_memory);
    }
    if let Some(initialize) = &code.initialize {
        call_export::<(), ()>(store, instance, initialize, ()).await?;
    }
    match &code.entry {
        Entry::Invoke(invoke) => call_export(store, instance, invoke, input_len).await,
        Entry::Command(start) => call_export(store, instance, start, ()).await.map(|()| 0),
    }
}

async fn call_export<P, R>(
    store: &mut Store<Guest>,
    instance: &Instance,
    export: &ModuleExport,
    params: P,
) -> wasmtime::Result<R>
where
    P: WasmParams + Sync,
    R: WasmResults + Sync,
{
    let function = instance.get_module_export(store.as_context_mut(), export);
    let function = function.and_then(Extern::into_func);
    let function = function.ok_or_else(|| wasmtime::format_err!("the export is no function"))?;
    function.typed::<P, R>(&*store)?.call_async(store, params).await
}

/// What a function says that returned `value`.
fn outcome(entry: &Entry, guest: &mut Guest, value: i32) -> Result<Outcome, Error> {
    match (entry, value) {
        (Entry::Invoke(_), 0) => match guest.take_response() {
            Some(response) => json(response),
            None => Err(Error::BadResponse("the function returned no response".into())),
        },
        (Entry::Command(_), 0) => match guest.take_output() {
            output if output.is_empty() => {
                Err(Error::BadResponse("the function wrote no response to its standard output".into()))
            }
            output => json(output),
        },
        (_, 1) => Ok(Outcome::FunctionError(guest.take_error())),
        _ => Err(Error::BadReturnValue(value)),
    }
}

/// What a function says that ended itself with a code that means failure: the end of its standard error.
fn exited(code: i32, console: &Console) -> Outcome {
    let said = console.tail();
    Outcome::FunctionError(if said.is_empty() { format!("exited with code {code}") } else { said })
}

/// A result has to be one JSON value. It is looked at, not rebuilt; no depth exhausts the stack.
fn json(response: Bytes) -> Result<Outcome, Error> {
    let wrong = |what: String| {
        let quoted = excerpt::beginning(&response, QUOTED_BYTES);
        Error::BadResponse(format!("the function's response is not valid JSON: {what} in {quoted:?}"))
    };
    let text = std::str::from_utf8(&response)
        .map_err(|error| wrong(format!("not UTF-8 at byte {}", error.valid_up_to())))?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| wrong(error.to_string()))?;
    Ok(Outcome::Result(response))
}

/// The code that a guest ended itself with, if it did.
fn exit_code(error: &wasmtime::Error) -> Option<i32> {
    error.downcast_ref::<I32Exit>().map(|exit| exit.0)
}

/// A trap as its user reads it.
fn in_words(trap: &Trap) -> String {
    let words = trap.to_string();
    words.strip_prefix("wasm trap: ").unwrap_or(&words).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses() {
        let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
        for good in [&b"null"[..], b" 1 \n", b"\"x\"", b"[1e999]", b"{\"a\":18446744073709551617}", &deep] {
            let response = Bytes::copy_from_slice(good);
            assert_eq!(json(response.clone()), Ok(Outcome::Result(response)));
        }
        const LONG: &[u8] = &[b'x'; 1000];
        let long = format!("expected value at line 1 column 1 in \"{}…\"", "x".repeat(80));
        let cases: [(&[u8], &str); 6] = [
            (b"", r#"EOF while parsing a value at line 1 column 0 in """#),
            (b"{]", r#"key must be a string at line 1 column 2 in "{]""#),
            (b"1 2", r#"trailing characters at line 1 column 3 in "1 2""#),
            (b"\"\xff\"", "not UTF-8 at byte 1 in \"\\\"\u{fffd}\\\"\""),
            (b"hello\r\n\x1b\"", r#"expected value at line 1 column 1 in "hello\r\n\u{1b}\"""#),
            (LONG, &long),
        ];
        for (bad, expected) in cases {
            let expected = format!("the function's response is not valid JSON: {expected}");
            assert_eq!(json(Bytes::from_static(bad)), Err(Error::BadResponse(expected)));
        }
    }

    #[test]
    fn traps_in_words() {
        assert_eq!(in_words(&Trap::IntegerDivisionByZero), "integer divide by zero");
    }
}
