//! Components: their entry points, and how they are called.

use std::time::Instant;

use futures::future::try_join;
use http_body_util::BodyExt as _;
use mesh::inner_span;
use tracing::Instrument as _;
use wasmtime::Store;
use wasmtime::component::{Component, InstancePre};
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use super::host::{Guest, HostCallError, HttpCall, HttpResponse, Linkers, WasiUse, limit_component};
use super::response::{self, HttpAnswer, Response};
use super::time_slices::SliceEnd;
use crate::budget::{HeldBuffer, MemoryBudget};
use crate::error::Error;

/// A component that is linked.
pub(super) enum PreparedComponent {
    /// It exports `wasi:http/incoming-handler`.
    Handler(ProxyPre<Guest>),
    /// It exports `wasi:cli/run`.
    Command(CommandPre<Guest>),
}

impl PreparedComponent {
    /// Links a component. Fails if it imports what does not exist, or has no entry point.
    pub(super) fn link(linkers: &Linkers, component: &Component) -> Result<Self, Error> {
        let unusable = |error: wasmtime::Error| Error::CodeUnusable(format!("{error:#}"));
        let instance = linkers.component.instantiate_pre(component).map_err(unusable)?;
        match Self::handler(instance.clone()) {
            Some(handler) => Ok(handler),
            None => CommandPre::new(instance).map(Self::Command).map_err(|_| {
                let words = "it exports neither wasi:http/incoming-handler nor wasi:cli/run, in version 0.2";
                Error::CodeUnusable(words.into())
            }),
        }
    }

    fn handler(instance: InstancePre<Guest>) -> Option<Self> {
        ProxyPre::new(instance).map(Self::Handler).ok()
    }

    /// What it uses of WASI.
    pub(super) fn wasi(&self) -> WasiUse {
        match self {
            Self::Handler(_) => WasiUse::HttpComponent,
            Self::Command(_) => WasiUse::CommandComponent,
        }
    }

    /// Makes an instance, calls it, and checks its response.
    pub(super) async fn call(
        &self,
        store: &mut Store<Guest>,
        slice_end: &SliceEnd,
    ) -> wasmtime::Result<Result<Response, Error>> {
        limit_component(store);
        match self {
            Self::Handler(handler) => {
                let answer = handle(store, handler).await?;
                Ok(response::answered(answer, slice_end).await)
            }
            Self::Command(command) => run(store, command, slice_end).await,
        }
    }
}

/// Calls a handler with the arguments as a request.
async fn handle(store: &mut Store<Guest>, handler: &ProxyPre<Guest>) -> wasmtime::Result<HttpAnswer> {
    let started = Instant::now();
    let proxy = handler.instantiate_async(&mut *store).instrument(inner_span!("instantiate")).await;
    store.data_mut().instantiation = started.elapsed();
    let proxy = proxy?;
    store.data_mut().meter.begin_run();
    let guest = store.data_mut();
    let HttpCall { request, outparam, response } = guest.http_call()?;
    let (budget, max_bytes) = (guest.budget().clone(), guest.output_limit());
    let handled = async {
        proxy.wasi_http_incoming_handler().call_handle(&mut *store, request, outparam).await?;
        // A response that the component has not ended ends here.
        store.data_mut().drop_resources();
        Ok::<(), wasmtime::Error>(())
    };
    // What is written to the body is read at once, by the same task.
    let answered = try_join(handled, collect(response, &budget, max_bytes));
    Ok(answered.instrument(inner_span!("run")).await?.1)
}

/// Waits for the response and reads its body, of at most `max_bytes`.
async fn collect(
    response: HttpResponse,
    budget: &MemoryBudget,
    max_bytes: u64,
) -> wasmtime::Result<HttpAnswer> {
    let response = match response.await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return Ok(HttpAnswer::Error(error.to_string())),
        Err(_) => return Ok(HttpAnswer::None),
    };
    let (status, mut body) = (response.status().as_u16(), response.into_body());
    let mut bytes = HeldBuffer::new(budget);
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return Ok(HttpAnswer::Incomplete(error.to_string())),
        };
        let Ok(chunk) = frame.into_data() else { continue };
        if (bytes.len() + chunk.len()) as u64 > max_bytes {
            return Err(HostCallError::OutputLimit.into());
        }
        bytes.extend(&chunk)?;
    }
    Ok(HttpAnswer::Response { status, body: bytes.take() })
}

/// Calls a command.
async fn run(
    store: &mut Store<Guest>,
    command: &CommandPre<Guest>,
    slice_end: &SliceEnd,
) -> wasmtime::Result<Result<Response, Error>> {
    let started = Instant::now();
    let instance = command.instantiate_async(&mut *store).instrument(inner_span!("instantiate")).await;
    store.data_mut().instantiation = started.elapsed();
    let instance = instance?;
    store.data_mut().meter.begin_run();
    let run = instance.wasi_cli_run().call_run(&mut *store).instrument(inner_span!("run"));
    let succeeded = match run.await {
        Err(error) if response::exit_code(&error) == Some(0) => true,
        ended => ended?.is_ok(),
    };
    match succeeded {
        true => Ok(response::printed(store.data().take_output(), slice_end).await),
        false => Ok(Ok(response::exited(1, &store.data().console).into())),
    }
}
