//! Scripts at the gRPC port: a script is checked before it is created; all other calls are forwarded.

use std::sync::Arc;

use futures::future::BoxFuture;
use mesh::deadline::Deadline;
use mesh::{Caller, Error, MAX_MESSAGE_BYTES};
use proto::registry::v1::{CreateScriptRequest, CreateScriptResponse};
use tonic::body::Body;
use tonic::server::{Grpc, UnaryService};
use tonic::{Request, Response, Status};

use super::serve::Handle;
use super::{Admitted, Upstream};
use crate::clients::{Channels, for_clients};
use crate::revision::LatestRevision;
use crate::scripts::create_script;

const CREATE_SCRIPT: &str = "/funless.registry.v1.Scripts/CreateScript";

/// The [`Upstream`] to the registry's scripts.
#[derive(Debug, Clone)]
pub(super) struct CheckedScripts {
    upstream: Upstream,
    channels: Channels,
}

impl CheckedScripts {
    pub(super) fn new(upstream: &Upstream, channels: &Channels) -> Self {
        Self { upstream: upstream.clone(), channels: channels.clone() }
    }

    async fn create_script(self, mut request: http::Request<Body>) -> Result<http::Response<Body>, Error> {
        let Admitted { caller, deadline, .. } = self.upstream.admit(&mut request)?;
        let latest_revision = Arc::clone(&self.upstream.latest_revision);
        let call = CreateScript { channels: self.channels, latest_revision, caller, deadline };
        let codec = proto::Codec::<CreateScriptResponse, CreateScriptRequest>::default();
        Ok(Grpc::new(codec).max_decoding_message_size(MAX_MESSAGE_BYTES).unary(call, request).await)
    }
}

impl Handle for CheckedScripts {
    async fn handle(self, request: http::Request<Body>) -> Result<http::Response<Body>, Error> {
        match request.uri().path() {
            CREATE_SCRIPT => self.create_script(request).await,
            _ => self.upstream.handle(request).await,
        }
    }
}

/// The handler of one `CreateScript` call.
struct CreateScript {
    channels: Channels,
    latest_revision: Arc<LatestRevision>,
    caller: Caller,
    deadline: Deadline,
}

impl UnaryService<CreateScriptRequest> for CreateScript {
    type Response = CreateScriptResponse;
    type Future = BoxFuture<'static, Result<Response<CreateScriptResponse>, Status>>;

    fn call(&mut self, request: Request<CreateScriptRequest>) -> Self::Future {
        let (channels, caller, deadline) = (self.channels.clone(), self.caller.clone(), self.deadline);
        let latest_revision = Arc::clone(&self.latest_revision);
        let script = request.into_inner().script.unwrap_or_default();
        Box::pin(async move {
            let created = create_script(&channels, &caller, deadline, script).await;
            let reply = created.map_err(|refused| for_clients(refused.into()))?.reply;
            latest_revision.note(reply.revision);
            let revision = reply.revision.into();
            let mut response = Response::new(reply);
            response.metadata_mut().insert(mesh::REVISION_HEADER, revision);
            Ok(response)
        })
    }
}
