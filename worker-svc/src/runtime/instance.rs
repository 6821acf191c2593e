//! Makes an instance of a function and calls it.

use std::time::Instant;

use mesh::inner_span;
use tracing::Instrument as _;
use wasmtime::{AsContextMut, Extern, Instance, ModuleExport, Store, WasmParams, WasmResults};

use super::entry::Entry;
use super::host::Guest;
use super::prepared::PreparedCode;

/// Makes an instance and calls it. Gives what it returned, 0 for a command.
pub(super) async fn call(
    store: &mut Store<Guest>,
    code: &PreparedCode,
    input_len: i32,
) -> wasmtime::Result<i32> {
    let started = Instant::now();
    let instance = code.instance.instantiate_async(&mut *store).instrument(inner_span!("instantiate")).await;
    store.data_mut().instantiation = started.elapsed();
    let instance = instance?;
    store.data_mut().meter.begin_run();
    run(store, code, &instance, input_len).instrument(inner_span!("run")).await
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
    let function = function.ok_or_else(|| wasmtime::format_err!("the export is not a function"))?;
    function.typed::<P, R>(&*store)?.call_async(store, params).await
}
