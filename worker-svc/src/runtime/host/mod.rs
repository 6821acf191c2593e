//! What a guest can call.
//!
//! A FunLess module imports from `fl_imps`. Any module may import WASI preview 1, which reaches nothing but
//! its standard streams, clocks and random numbers. A component imports WASI 0.2 (`component`), of which it also has
//! HTTP requests (`outgoing`). Every pointer that a guest passes is checked, in
//! `memory`. `guest` is what the host keeps for a running guest, `calls` are the host functions.

mod abi;
mod calls;
mod component;
mod console;
mod guest;
mod http;
mod io;
mod memory;
mod outgoing;
mod wasi;

pub(super) use self::abi::HostCallError;
pub(super) use self::component::{HttpCall, HttpResponse, limit_component};
pub(super) use self::console::Console;
pub(super) use self::guest::{Guest, GuestOptions, WasiUse};
pub(crate) use self::http::EGRESS_KIND;
pub(super) use self::http::HttpClient;

use wasmtime::Engine;

/// Everything that code can import.
pub(super) struct Linkers {
    pub(super) module: wasmtime::Linker<Guest>,
    pub(super) component: wasmtime::component::Linker<Guest>,
}

impl Linkers {
    pub(super) fn new(engine: &Engine) -> wasmtime::Result<Self> {
        Ok(Self { module: calls::linker(engine)?, component: calls::component::linker(engine)? })
    }
}
