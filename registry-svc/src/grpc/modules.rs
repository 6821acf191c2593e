//! `funless.registry.v1.Modules`.

use mesh::Caller;
use proto::registry::v1::modules_server::Modules;
use proto::registry::v1::{
    CreateModuleRequest, CreateModuleResponse, DeleteModuleRequest, DeleteModuleResponse, GetModuleRequest,
    GetModuleResponse, ListModulesRequest, ListModulesResponse, RenameModuleRequest, RenameModuleResponse,
};
use tonic::{Request, Response, Status};

use super::{Handler, written};

#[tonic::async_trait]
impl Modules for Handler {
    async fn create_module(
        &self,
        request: Request<CreateModuleRequest>,
    ) -> Result<Response<CreateModuleResponse>, Status> {
        let caller = Caller::of(&request);
        let CreateModuleRequest { name } = request.into_inner();
        let (module, revision) = self.registry.create_module(&caller, &name).await?;
        Ok(written(CreateModuleResponse { module: Some(module), revision }, revision))
    }

    async fn get_module(
        &self,
        request: Request<GetModuleRequest>,
    ) -> Result<Response<GetModuleResponse>, Status> {
        let caller = Caller::of(&request);
        let GetModuleRequest { name } = request.into_inner();
        let (module, functions) = self.registry.get_module(&caller, &name).await?;
        Ok(Response::new(GetModuleResponse { module: Some(module), functions }))
    }

    async fn list_modules(
        &self,
        request: Request<ListModulesRequest>,
    ) -> Result<Response<ListModulesResponse>, Status> {
        let modules = self.registry.list_modules(&Caller::of(&request)).await?;
        Ok(Response::new(ListModulesResponse { modules }))
    }

    async fn rename_module(
        &self,
        request: Request<RenameModuleRequest>,
    ) -> Result<Response<RenameModuleResponse>, Status> {
        let caller = Caller::of(&request);
        let RenameModuleRequest { name, new_name } = request.into_inner();
        let (module, revision) = self.registry.rename_module(&caller, &name, &new_name).await?;
        Ok(written(RenameModuleResponse { module: Some(module), revision }, revision))
    }

    async fn delete_module(
        &self,
        request: Request<DeleteModuleRequest>,
    ) -> Result<Response<DeleteModuleResponse>, Status> {
        let caller = Caller::of(&request);
        let DeleteModuleRequest { name } = request.into_inner();
        let revision = self.registry.delete_module(&caller, &name).await?;
        Ok(written(DeleteModuleResponse { revision }, revision))
    }
}
