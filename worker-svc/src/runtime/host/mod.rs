//! What a guest can call.
//!
//! A FunLess module imports from `fl_imps`, one file here per concern; any module may import WASI
//! preview 1, which reaches nothing but its standard streams, clocks and random numbers. Every
//! pointer that a guest passes is checked: see [`memory`].

pub(crate) mod console;
mod data;
pub(crate) mod http;
mod memory;
mod wasi;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prometheus::IntGauge;
use wasmtime::{Engine, Linker, Memory};
use wasmtime_wasi::p1::WasiP1Ctx;

use self::console::Console;
use self::data::Exchange;
use self::http::Http;
use self::wasi::Output;
use super::entry::Entry;
use super::limits::{Limits, Meter};

/// The module that FunLess functions import from.
const MODULE: &str = "fl_imps";

/// Everything that the host keeps for one running guest.
pub(crate) struct Guest {
    pub(crate) meter: Meter,
    pub(crate) console: Console,
    /// Known once the instance is made.
    pub(crate) memory: Option<Memory>,
    /// How long it took to make it.
    pub(crate) instantiation: Duration,
    exchange: Exchange,
    http: Http,
    wasi: Option<Box<WasiP1Ctx>>,
    /// What a WASI command has written.
    output: Option<Output>,
}

/// What a guest is made from.
pub(crate) struct Setting<'a> {
    pub(crate) entry: &'a Entry,
    /// Whether it imports WASI.
    pub(crate) wasi: bool,
    pub(crate) args: Bytes,
    pub(crate) limits: Limits,
    pub(crate) console: Console,
    pub(crate) http: Arc<http::Client>,
    pub(crate) memory_total: IntGauge,
}

impl Guest {
    pub(crate) fn new(setting: Setting<'_>) -> Self {
        let Setting { entry, wasi, args, limits, console, http, memory_total } = setting;
        let output = matches!(entry, Entry::Command(_)).then(|| Output::new(limits.output_bytes));
        let wasi = wasi.then(|| {
            Box::new(match &output {
                Some(output) => wasi::command(args.clone(), output.clone(), console.clone()),
                None => wasi::library(console.clone()),
            })
        });
        Self {
            meter: Meter::new(limits.memory_bytes, memory_total),
            console,
            memory: None,
            instantiation: Duration::ZERO,
            exchange: Exchange::new(args, limits.output_bytes),
            http: Http::new(http),
            wasi,
            output,
        }
    }

    /// The HTTP requests that it has made.
    pub(crate) fn http_requests(&self) -> u32 {
        self.http.requests
    }

    /// The response of a FunLess function, if it gave one.
    pub(crate) fn take_response(&mut self) -> Option<Bytes> {
        self.exchange.response.take()
    }

    /// The error message of a FunLess function, empty if it gave none.
    pub(crate) fn take_error(&mut self) -> String {
        self.exchange.error.take().unwrap_or_default()
    }

    /// What a WASI command has written.
    pub(crate) fn take_output(&self) -> Bytes {
        self.output.as_ref().map(Output::take).unwrap_or_default()
    }
}

/// How a guest breaks the rules of a host function. It is trapped with this error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error(
        "{call} was given {what} out of bounds: {len} bytes at address {ptr} of a memory of {size} bytes"
    )]
    OutOfBounds { call: &'static str, what: &'static str, ptr: u32, len: u32, size: usize },
    #[error("{call} was called by a function that exports no memory")]
    NoMemory { call: &'static str },
    #[error("{call} was given the unknown method {method}; expected 0 GET, 1 POST, 2 PUT or 3 DELETE")]
    UnknownMethod { call: &'static str, method: i32 },
    #[error("the output limit is exceeded")]
    OutputLimit,
}

/// All that guests can import.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    data::link(&mut linker)?;
    console::link(&mut linker)?;
    http::link(&mut linker)?;
    wasmtime_wasi::p1::add_to_linker_async(&mut linker, |guest: &mut Guest| {
        guest.wasi.as_deref_mut().expect("a guest that imports WASI has it")
    })?;
    Ok(linker)
}
