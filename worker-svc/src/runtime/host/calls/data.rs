//! `__get_input_data`, `__insert_response` and `__insert_error`: the function's input and outputs.

use wasmtime::{Caller, Linker};

use crate::budget::HeldBytes;
use crate::runtime::host::abi::{HostCallError, MODULE};
use crate::runtime::host::guest::Guest;
use crate::runtime::host::memory::Region;

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "__get_input_data", get_input_data)?;
    linker.func_wrap_async(
        MODULE,
        "__insert_response",
        |mut caller: Caller<'_, Guest>, (ptr, len): (i32, i32)| {
            Box::new(async move { insert_response(&mut caller, ptr, len).await })
        },
    )?;
    linker.func_wrap_async(
        MODULE,
        "__insert_error",
        |mut caller: Caller<'_, Guest>, (ptr, len): (i32, i32)| {
            Box::new(async move { insert_error(&mut caller, ptr, len).await })
        },
    )?;
    Ok(())
}

/// Writes the input to `ptr`.
fn get_input_data(mut caller: Caller<'_, Guest>, ptr: i32) -> wasmtime::Result<()> {
    let len = caller.data().io.input.len();
    let (buffer, guest) =
        Region::buffer("__get_input_data", "a buffer for the input", ptr, len).access(&mut caller)?;
    buffer.copy_from_slice(&guest.io.input);
    Ok(())
}

/// Takes the response. The last one counts.
async fn insert_response(caller: &mut Caller<'_, Guest>, ptr: i32, len: i32) -> wasmtime::Result<()> {
    let (bytes, guest) = output(caller, Region::new("__insert_response", "the response", ptr, len)).await?;
    guest.io.response = None;
    guest.io.response = Some(HeldBytes::copy(&guest.budget, bytes)?);
    Ok(())
}

/// Takes the error message. The last one counts.
async fn insert_error(caller: &mut Caller<'_, Guest>, ptr: i32, len: i32) -> wasmtime::Result<()> {
    let (bytes, guest) = output(caller, Region::new("__insert_error", "the error message", ptr, len)).await?;
    guest.io.error = None;
    guest.io.error = Some(HeldBytes::copy(&guest.budget, bytes)?);
    Ok(())
}

/// The bytes of an output, unless it is over its limit. Many bytes are copied in a time slice of their own.
async fn output<'a>(
    caller: &'a mut Caller<'_, Guest>,
    region: Region,
) -> Result<(&'a mut [u8], &'a mut Guest), HostCallError> {
    let slice_end = caller.data().slice_end.clone();
    slice_end.before_work_on(region.len()).await;
    let (bytes, guest) = region.access(caller)?;
    guest.io.check_output(bytes.len())?;
    Ok((bytes, guest))
}
