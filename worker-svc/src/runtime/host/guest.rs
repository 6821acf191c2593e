//! One running guest, as the host sees it.

use std::sync::Arc;
use std::time::Duration;

use mesh::egress::Outbound;
use wasmtime::Memory;
use wasmtime_wasi::p1::WasiP1Ctx;

use super::console::Console;
use super::http::{GuestHttp, HttpClient};
use super::io::FunctionIo;
use super::wasi::{self, Output};
use crate::budget::{HeldBytes, MemoryBudget};
use crate::runtime::limits::{Limits, MemoryMeter};
use crate::runtime::time_slices::SliceEnd;

/// Everything that the host keeps for one running guest.
pub(crate) struct Guest {
    pub(crate) meter: MemoryMeter,
    pub(crate) console: Console,
    /// Ends its time slices.
    pub(super) slice_end: SliceEnd,
    /// Known once there is an instance.
    pub(crate) memory: Option<Memory>,
    /// How long instantiation took.
    pub(crate) instantiation: Duration,
    /// What the host holds for it is taken from this.
    pub(super) budget: MemoryBudget,
    pub(super) io: FunctionIo,
    pub(super) http: GuestHttp,
    wasi: Option<Box<WasiP1Ctx>>,
    /// What a WASI command has written to its standard output.
    output: Option<Output>,
}

/// What a guest is made from.
pub(crate) struct GuestOptions {
    /// Whether it is a WASI command.
    pub(crate) command: bool,
    /// Whether it imports WASI.
    pub(crate) wasi: bool,
    pub(crate) args: HeldBytes,
    pub(crate) limits: Limits,
    pub(crate) console: Console,
    pub(crate) http: Arc<HttpClient>,
    /// On whose behalf it sends HTTP requests.
    pub(crate) outbound: Outbound,
    /// The memory for all guests.
    pub(crate) budget: MemoryBudget,
    pub(crate) slice_end: SliceEnd,
}

impl Guest {
    pub(crate) fn new(options: GuestOptions) -> Self {
        let GuestOptions { command, wasi, args, limits, console, http, outbound, budget, slice_end } =
            options;
        let output = command.then(|| Output::new(&budget, limits.output_bytes));
        let wasi = wasi.then(|| {
            Box::new(match &output {
                Some(output) => wasi::command(args.bytes().clone(), output.clone(), console.clone()),
                None => wasi::library(console.clone()),
            })
        });
        Self {
            meter: MemoryMeter::new(limits.memory_bytes, &budget),
            console,
            slice_end,
            memory: None,
            instantiation: Duration::ZERO,
            budget,
            io: FunctionIo::new(args, limits.output_bytes),
            http: GuestHttp::new(http, outbound),
            wasi,
            output,
        }
    }

    /// The HTTP requests that it has made.
    pub(crate) fn http_requests(&self) -> u32 {
        self.http.requests
    }

    /// The response of a FunLess function, if it gave one.
    pub(crate) fn take_response(&mut self) -> Option<HeldBytes> {
        self.io.response.take()
    }

    /// The error message of a FunLess function, if it gave one.
    pub(crate) fn take_error(&mut self) -> Option<HeldBytes> {
        self.io.error.take()
    }

    /// What a WASI command has written to its standard output.
    pub(crate) fn take_output(&self) -> Option<HeldBytes> {
        self.output.as_ref().map(Output::take)
    }

    /// The state of WASI. A guest that imports none of it never asks for it.
    pub(super) fn wasi(&mut self) -> &mut WasiP1Ctx {
        self.wasi.as_deref_mut().expect("a guest that imports WASI has it")
    }
}
