//! `funless.registry.v1.Scripts`. All callers may read them.

use mesh::Caller;
use mesh::paging::page;
use proto::registry::v1::scripts_server::Scripts;
use proto::registry::v1::{
    CreateScriptRequest, CreateScriptResponse, DeleteScriptRequest, DeleteScriptResponse, GetScriptRequest,
    GetScriptResponse, ListScriptsRequest, ListScriptsResponse,
};
use tonic::{Request, Response, Status};

use super::{Handler, written};
use crate::names;

#[tonic::async_trait]
impl Scripts for Handler {
    async fn create_script(
        &self,
        request: Request<CreateScriptRequest>,
    ) -> Result<Response<CreateScriptResponse>, Status> {
        let caller = Caller::of(&request);
        let CreateScriptRequest { script } = request.into_inner();
        let (script, revision) = self.registry.create_script(&caller, script.unwrap_or_default()).await?;
        Ok(written(CreateScriptResponse { script: Some(script), revision }, revision))
    }

    async fn get_script(
        &self,
        request: Request<GetScriptRequest>,
    ) -> Result<Response<GetScriptResponse>, Status> {
        let script = self.registry.get_script(&request.into_inner().name).await?;
        Ok(Response::new(GetScriptResponse { script: Some(script) }))
    }

    async fn list_scripts(
        &self,
        request: Request<ListScriptsRequest>,
    ) -> Result<Response<ListScriptsResponse>, Status> {
        let ListScriptsRequest { page_size, page_token } = request.into_inner();
        let scripts = self.registry.list_scripts().await?;
        let (scripts, next_page_token) =
            page(scripts, page_size, &page_token, |script| &script.name, names::order);
        Ok(Response::new(ListScriptsResponse { scripts, next_page_token }))
    }

    async fn delete_script(
        &self,
        request: Request<DeleteScriptRequest>,
    ) -> Result<Response<DeleteScriptResponse>, Status> {
        let caller = Caller::of(&request);
        let DeleteScriptRequest { name, force } = request.into_inner();
        let revision = self.registry.delete_script(&caller, &name, force).await?;
        Ok(written(DeleteScriptResponse { revision }, revision))
    }
}
