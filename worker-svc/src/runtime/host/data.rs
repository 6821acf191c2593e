//! What goes into a FunLess function and what comes out.

use bytes::Bytes;
use wasmtime::{Caller, Linker};

use super::memory::Region;
use super::{Fault, Guest, MODULE};

/// One function's input and outputs.
pub(super) struct Exchange {
    input: Bytes,
    pub(super) response: Option<Bytes>,
    pub(super) error: Option<String>,
    output_limit: u64,
}

impl Exchange {
    pub(super) fn new(input: Bytes, output_limit: u64) -> Self {
        Self { input, response: None, error: None, output_limit }
    }
}

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "__get_input_data", get_input_data)?;
    linker.func_wrap(MODULE, "__insert_response", insert_response)?;
    linker.func_wrap(MODULE, "__insert_error", insert_error)?;
    Ok(())
}

/// Writes the input to `ptr`.
fn get_input_data(mut caller: Caller<'_, Guest>, ptr: i32) -> wasmtime::Result<()> {
    let len = caller.data().exchange.input.len();
    let (room, guest) =
        Region::room("__get_input_data", "room for the input", ptr, len).access(&mut caller)?;
    room.copy_from_slice(&guest.exchange.input);
    Ok(())
}

/// Takes the response. The last one counts.
fn insert_response(mut caller: Caller<'_, Guest>, ptr: i32, len: i32) -> wasmtime::Result<()> {
    let (bytes, guest) = output(&mut caller, Region::new("__insert_response", "the response", ptr, len))?;
    guest.exchange.response = Some(Bytes::copy_from_slice(bytes));
    Ok(())
}

/// Takes the error message. The last one counts.
fn insert_error(mut caller: Caller<'_, Guest>, ptr: i32, len: i32) -> wasmtime::Result<()> {
    let (bytes, guest) = output(&mut caller, Region::new("__insert_error", "the error message", ptr, len))?;
    guest.exchange.error = Some(String::from_utf8_lossy(bytes).into_owned());
    Ok(())
}

/// The bytes of something that the function says, if it may say as much.
fn output<'a>(
    caller: &'a mut Caller<'_, Guest>,
    region: Region,
) -> Result<(&'a mut [u8], &'a mut Guest), Fault> {
    let (bytes, guest) = region.access(caller)?;
    if bytes.len() as u64 > guest.exchange.output_limit {
        return Err(Fault::OutputLimit);
    }
    Ok((bytes, guest))
}
