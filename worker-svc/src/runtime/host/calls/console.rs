//! `__console_log`.

use wasmtime::{Caller, Linker};

use crate::runtime::host::abi::MODULE;
use crate::runtime::host::guest::Guest;
use crate::runtime::host::memory::Region;

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "__console_log", console_log)?;
    Ok(())
}

fn console_log(mut caller: Caller<'_, Guest>, ptr: i32, len: i32) -> wasmtime::Result<()> {
    let (message, guest) = Region::new("__console_log", "the line", ptr, len).access(&mut caller)?;
    guest.console.log(message);
    Ok(())
}
