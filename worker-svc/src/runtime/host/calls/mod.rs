//! The host functions, by concern: what each does when a guest calls it.

mod console;
mod data;
mod http;

use wasmtime::{Engine, Linker};

use super::guest::Guest;

/// All functions that guests can import.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    data::link(&mut linker)?;
    console::link(&mut linker)?;
    http::link(&mut linker)?;
    wasmtime_wasi::p1::add_to_linker_async(&mut linker, Guest::wasi)?;
    Ok(linker)
}
