//! What the host keeps for a component: the state of WASI 0.2, with standard streams and HTTP requests only.
//!
//! What it takes outside of the memory of the worker is small: so many handles, each with so many
//! bytes at most.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::Full;
use mesh::telemetry;
use tokio::sync::oneshot;
use wasmtime::Store;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView};
use wasmtime_wasi_config::WasiConfigVariables;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView};

use super::outgoing::OutgoingHttp;

/// Handles to what the host keeps for a component, the most.
const MAX_HANDLES: usize = 1000;
/// What the headers behind one handle take that a component has made, in bytes, the most.
const MAX_HEADERS_BYTES: usize = 16 << 10;
/// What a component may pass to the host in one call, in bytes.
const MAX_CALL_BYTES: usize = 1 << 20;
/// The host that a component is asked for.
const AUTHORITY: &str = "localhost";

/// What the host keeps for a component.
pub(super) struct ComponentHost {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    outgoing: OutgoingHttp,
    config: WasiConfigVariables,
}

/// The call of a component's handler.
pub(crate) struct HttpCall {
    pub(crate) request: Resource<HostIncomingRequest>,
    pub(crate) outparam: Resource<HostResponseOutparam>,
    /// Receives the response, unless the component gives none.
    pub(crate) response: HttpResponse,
}

/// The response of a component, or an error in place of it.
pub(crate) type HttpResponse = oneshot::Receiver<Result<Response<HyperOutgoingBody>, ErrorCode>>;

impl ComponentHost {
    pub(super) fn new(wasi: WasiCtx, outgoing: OutgoingHttp) -> Self {
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(MAX_HEADERS_BYTES);
        Self { wasi, http, table: table(), outgoing, config: WasiConfigVariables::new() }
    }

    /// The HTTP requests that it has made.
    pub(super) fn http_requests(&self) -> u32 {
        self.outgoing.requests
    }

    /// Its configuration.
    pub(super) fn config(&self) -> &WasiConfigVariables {
        &self.config
    }

    /// What `wasmtime-wasi` works on.
    pub(super) fn wasi(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }

    /// What `wasmtime-wasi-http` works on.
    pub(super) fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.outgoing, table: &mut self.table, ctx: &mut self.http }
    }

    /// Prepares a call whose request has the arguments as its body.
    pub(super) fn http_call(&mut self, args: Bytes) -> wasmtime::Result<HttpCall> {
        let request = request(args)?;
        let (sender, response) = oneshot::channel();
        let mut http = self.http();
        let request = http.new_incoming_request(Scheme::Http, request)?;
        let outparam = http.new_response_outparam(sender)?;
        Ok(HttpCall { request, outparam, response })
    }

    /// Drops what the host keeps for it. It has returned.
    pub(super) fn drop_resources(&mut self) {
        self.table = table();
    }
}

fn table() -> ResourceTable {
    let mut table = ResourceTable::new();
    table.set_max_capacity(MAX_HANDLES);
    table
}

/// Limits what the component in `store` makes the host do in one call.
pub(crate) fn limit_component<T>(store: &mut Store<T>) {
    store.set_hostcall_fuel(MAX_CALL_BYTES);
    store.set_max_component_handles(MAX_HANDLES);
}

/// The request with which a component is invoked.
fn request(args: Bytes) -> wasmtime::Result<Request<Full<Bytes>>> {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(HOST, HeaderValue::from_static(AUTHORITY));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(args.len()));
    telemetry::inject_current(&mut headers);
    let mut request = Request::builder().method(Method::POST).uri("/").body(Full::new(args))?;
    *request.headers_mut() = headers;
    Ok(request)
}
