//! One running guest, as the host sees it.

use std::sync::Arc;
use std::time::Duration;

use mesh::egress::Outbound;
use wasmtime::Memory;
use wasmtime_wasi::p1::WasiP1Ctx;

use super::component::{ComponentHost, HttpCall};
use super::console::Console;
use super::http::{GuestHttp, HttpClient};
use super::io::FunctionIo;
use super::outgoing::OutgoingHttp;
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
    wasi: Wasi,
    /// What a command has written to its standard output.
    output: Option<Output>,
}

/// The state of WASI.
enum Wasi {
    None,
    /// Of a module.
    Preview1(Box<WasiP1Ctx>),
    /// Of a component.
    Preview2(Box<ComponentHost>),
}

/// What code uses of WASI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WasiUse {
    Nothing,
    /// A FunLess function imports some of it.
    Library,
    /// A command of WASI 0.1.
    Command,
    /// A component that handles HTTP requests.
    HttpComponent,
    /// A command of WASI 0.2.
    CommandComponent,
}

/// What a guest is made from.
pub(crate) struct GuestOptions {
    pub(crate) wasi: WasiUse,
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
        let GuestOptions { wasi, args, limits, console, http, outbound, budget, slice_end } = options;
        let is_command = matches!(wasi, WasiUse::Command | WasiUse::CommandComponent);
        let output = is_command.then(|| Output::new(&budget, limits.output_bytes));
        let streams = || match &output {
            Some(output) => wasi::command(args.bytes().clone(), output.clone(), console.clone()),
            None => wasi::library(console.clone()),
        };
        let wasi = match wasi {
            WasiUse::Nothing => Wasi::None,
            WasiUse::Library | WasiUse::Command => Wasi::Preview1(Box::new(streams().build_p1())),
            WasiUse::HttpComponent | WasiUse::CommandComponent => {
                let outgoing = OutgoingHttp::new(&http, &outbound, &budget, &console);
                Wasi::Preview2(Box::new(ComponentHost::new(streams().build(), outgoing)))
            }
        };
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
        match &self.wasi {
            Wasi::Preview2(component) => component.http_requests(),
            Wasi::None | Wasi::Preview1(_) => self.http.requests,
        }
    }

    /// What the host holds for it is taken from this.
    pub(crate) fn budget(&self) -> &MemoryBudget {
        &self.budget
    }

    /// The most bytes of its output.
    pub(crate) fn output_limit(&self) -> u64 {
        self.io.output_limit()
    }

    /// The response of a FunLess function, if it gave one.
    pub(crate) fn take_response(&mut self) -> Option<HeldBytes> {
        self.io.response.take()
    }

    /// The error message of a FunLess function, if it gave one.
    pub(crate) fn take_error(&mut self) -> Option<HeldBytes> {
        self.io.error.take()
    }

    /// What a command has written to its standard output.
    pub(crate) fn take_output(&self) -> Option<HeldBytes> {
        self.output.as_ref().map(Output::take)
    }

    /// The state of WASI. A guest that imports none of it never asks for it.
    pub(super) fn wasi(&mut self) -> &mut WasiP1Ctx {
        match &mut self.wasi {
            Wasi::Preview1(wasi) => wasi,
            Wasi::None | Wasi::Preview2(_) => unreachable!("a module that imports WASI has it"),
        }
    }

    /// Prepares the call of a component that handles HTTP requests.
    pub(crate) fn http_call(&mut self) -> wasmtime::Result<HttpCall> {
        let args = self.io.input.bytes().clone();
        self.component().http_call(args)
    }

    /// Drops what the host keeps for a component that has returned.
    pub(crate) fn drop_resources(&mut self) {
        self.component().drop_resources();
    }

    /// The state of a component.
    pub(super) fn component(&mut self) -> &mut ComponentHost {
        match &mut self.wasi {
            Wasi::Preview2(component) => component,
            Wasi::None | Wasi::Preview1(_) => unreachable!("a component has it"),
        }
    }
}
