//! `funless.registry.v1.Bindings`.

use mesh::Caller;
use proto::registry::v1::bindings_server::Bindings;
use proto::registry::v1::{
    FindHoldersRequest, FindHoldersResponse, HoldBindingsRequest, HoldBindingsResponse,
    ReleaseBindingsRequest, ReleaseBindingsResponse,
};
use tonic::{Request, Response, Status};

use super::Handler;

#[tonic::async_trait]
impl Bindings for Handler {
    async fn hold_bindings(
        &self,
        request: Request<HoldBindingsRequest>,
    ) -> Result<Response<HoldBindingsResponse>, Status> {
        let caller = Caller::of(&request);
        let held = self.registry.hold_bindings(&caller, request.into_inner()).await?;
        Ok(Response::new(held))
    }

    async fn release_bindings(
        &self,
        request: Request<ReleaseBindingsRequest>,
    ) -> Result<Response<ReleaseBindingsResponse>, Status> {
        let caller = Caller::of(&request);
        let ReleaseBindingsRequest { role, holder } = request.into_inner();
        self.registry.release_bindings(&caller, role, &holder).await?;
        Ok(Response::new(ReleaseBindingsResponse {}))
    }

    async fn find_holders(
        &self,
        request: Request<FindHoldersRequest>,
    ) -> Result<Response<FindHoldersResponse>, Status> {
        let caller = Caller::of(&request);
        let FindHoldersRequest { ids } = request.into_inner();
        Ok(Response::new(self.registry.find_holders(&caller, &ids).await?))
    }
}
