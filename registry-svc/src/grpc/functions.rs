//! `funless.registry.v1.Functions`.

use bytes::Bytes;
use futures::{Stream, TryStreamExt as _};
use mesh::{Caller, Error};
use proto::registry::v1::functions_server::Functions;
use proto::registry::v1::{
    CreateFunctionRequest, CreateFunctionResponse, DeleteFunctionRequest, DeleteFunctionResponse,
    GetFunctionRequest, GetFunctionResponse, ListFunctionsRequest, ListFunctionsResponse,
    UpdateFunctionRequest, UpdateFunctionResponse, create_function_request, update_function_request,
};
use tonic::{Request, Response, Status, Streaming};

use super::{Handler, written};
use crate::error::RegistryError;
use crate::names;

#[tonic::async_trait]
impl Functions for Handler {
    async fn create_function(
        &self,
        request: Request<Streaming<CreateFunctionRequest>>,
    ) -> Result<Response<CreateFunctionResponse>, Status> {
        use create_function_request::Part;
        let caller = Caller::of(&request);
        let (spec, chunks) = upload(request.into_inner(), |message| match message.part? {
            Part::Spec(spec) => Some(UploadPart::Spec(spec)),
            Part::Chunk(chunk) => Some(UploadPart::Chunk(chunk)),
        })
        .await?;
        let (function, revision) = self.registry.create_function(&caller, spec, chunks).await?;
        Ok(written(CreateFunctionResponse { function: Some(function), revision }, revision))
    }

    async fn get_function(
        &self,
        request: Request<GetFunctionRequest>,
    ) -> Result<Response<GetFunctionResponse>, Status> {
        let caller = Caller::of(&request);
        let GetFunctionRequest { module, name } = request.into_inner();
        let function = self.registry.get_function(&caller, &module, &name).await?;
        Ok(Response::new(GetFunctionResponse { function: Some(function) }))
    }

    async fn list_functions(
        &self,
        request: Request<ListFunctionsRequest>,
    ) -> Result<Response<ListFunctionsResponse>, Status> {
        let caller = Caller::of(&request);
        let ListFunctionsRequest { module, page_size, page_token } = request.into_inner();
        if !page_token.is_empty() && !names::is_name(&page_token) {
            return Err(Error::field("page_token", "expected the next_page_token of the page before").into());
        }
        let (functions, next_page_token) =
            self.registry.list_functions(&caller, &module, page_size, page_token).await?;
        Ok(Response::new(ListFunctionsResponse { functions, next_page_token }))
    }

    async fn update_function(
        &self,
        request: Request<Streaming<UpdateFunctionRequest>>,
    ) -> Result<Response<UpdateFunctionResponse>, Status> {
        use update_function_request::Part;
        let caller = Caller::of(&request);
        let (spec, chunks) = upload(request.into_inner(), |message| match message.part? {
            Part::Spec(spec) => Some(UploadPart::Spec(spec)),
            Part::Chunk(chunk) => Some(UploadPart::Chunk(chunk)),
        })
        .await?;
        let (function, revision) = self.registry.update_function(&caller, spec, chunks).await?;
        Ok(written(UpdateFunctionResponse { function: Some(function), revision }, revision))
    }

    async fn delete_function(
        &self,
        request: Request<DeleteFunctionRequest>,
    ) -> Result<Response<DeleteFunctionResponse>, Status> {
        let caller = Caller::of(&request);
        let DeleteFunctionRequest { module, name } = request.into_inner();
        let revision = self.registry.delete_function(&caller, &module, &name).await?;
        Ok(written(DeleteFunctionResponse { revision }, revision))
    }
}

/// A message of an upload.
enum UploadPart<S> {
    Spec(S),
    Chunk(Bytes),
}

/// Reads the specification, which comes first, and returns it with the chunks of code that follow.
async fn upload<M, S>(
    mut messages: Streaming<M>,
    part: impl Fn(M) -> Option<UploadPart<S>>,
) -> Result<(S, impl Stream<Item = Result<Bytes, Error>>), Status> {
    let Some(UploadPart::Spec(spec)) = messages.message().await?.and_then(&part) else {
        return Err(RegistryError::BadRequest("the first message must be the specification".into()).into());
    };
    let chunks = messages.map_err(|status| Error::of_request(&status)).and_then(move |message| {
        let chunk = match part(message) {
            Some(UploadPart::Chunk(chunk)) => Ok(chunk),
            Some(UploadPart::Spec(_)) | None => {
                Err(RegistryError::BadRequest("only chunks of code may follow the specification".into())
                    .into())
            }
        };
        std::future::ready(chunk)
    });
    Ok((spec, chunks))
}
