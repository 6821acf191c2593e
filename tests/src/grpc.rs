//! A gRPC client built only from the published protobufs, as any user could build one.

use std::time::Duration;

use futures::StreamExt as _;
use proto::registry::v1::create_function_request::Part;
use proto::registry::v1::functions_client::FunctionsClient;
use proto::registry::v1::{CreateFunctionRequest, CreateFunctionResponse, CreateFunctionSpec, Limits};
use tonic::Request;
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

use crate::{Client, Mesh};

/// A connection that sends a token, or none.
pub type Connection = InterceptedService<Channel, Show>;

/// The size of the chunks in which code is sent, in bytes.
const CHUNK: usize = 256 << 10;

/// Adds the token to each call.
#[derive(Debug, Clone)]
pub struct Show(Option<String>);

impl Interceptor for Show {
    fn call(&mut self, mut request: Request<()>) -> tonic::Result<Request<()>> {
        if let Some(token) = &self.0 {
            let value = MetadataValue::try_from(format!("Bearer {token}")).expect("tokens are ASCII");
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }
}

/// Connects to the mesh's gRPC port.
pub async fn connect(mesh: &Mesh, token: Option<&str>) -> Connection {
    connect_to(mesh.grpc_url(), token).await
}

/// Connects to a mesh's gRPC port at this URL.
pub async fn connect_to(url: String, token: Option<&str>) -> Connection {
    let endpoint = Endpoint::from_shared(url).expect("a URL");
    let channel = endpoint.connect().await.expect("failed to connect to the gRPC port");
    InterceptedService::new(channel, Show(token.map(str::to_owned)))
}

/// Creates a function.
pub async fn create_function(
    connection: &Connection,
    spec: CreateFunctionSpec,
    code: &[u8],
) -> tonic::Result<CreateFunctionResponse> {
    let chunks: Vec<_> = code.chunks(CHUNK).map(|chunk| Part::Chunk(chunk.to_vec().into())).collect();
    let parts = futures::stream::iter([Part::Spec(spec)]).chain(futures::stream::iter(chunks));
    let requests = parts.map(|part| CreateFunctionRequest { part: Some(part) });
    Ok(FunctionsClient::new(connection.clone()).create_function(requests).await?.into_inner())
}

/// Creates a function with this timeout. Returns a REST client of its creator.
pub async fn create_function_limited(
    mesh: &Mesh,
    module: &str,
    name: &str,
    code: &[u8],
    limit: Duration,
) -> Client {
    let user = mesh.user();
    let limits = Limits { timeout_ms: u64::try_from(limit.as_millis()).expect("short"), ..Limits::default() };
    let spec = CreateFunctionSpec {
        module: module.to_owned(),
        name: name.to_owned(),
        limits: Some(limits),
        ..CreateFunctionSpec::default()
    };
    let created = create_function(&connect(mesh, user.token()).await, spec, code).await;
    created.unwrap_or_else(|status| panic!("{module}/{name} was not created: {status}"));
    user
}
