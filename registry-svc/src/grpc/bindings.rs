//! `funless.registry.v1.Bindings`.

use mesh::Caller;
use proto::registry::v1::bindings_server::Bindings;
use proto::registry::v1::{ListBindingsRequest, ListBindingsResponse};
use tonic::{Request, Response, Status};

use super::Handler;

#[tonic::async_trait]
impl Bindings for Handler {
    async fn list_bindings(
        &self,
        request: Request<ListBindingsRequest>,
    ) -> Result<Response<ListBindingsResponse>, Status> {
        let caller = Caller::of(&request);
        let ListBindingsRequest { role } = request.into_inner();
        let (bindings, revision) = self.registry.list_bindings(&caller, role).await?;
        Ok(Response::new(ListBindingsResponse { bindings, revision }))
    }
}
