//! `funless.registry.v1.CodeStore`.

use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use mesh::Caller;
use proto::registry::v1::code_store_server::CodeStore;
use proto::registry::v1::{FetchCodeRequest, FetchCodeResponse};
use tonic::{Request, Response, Status};

use super::Handler;

#[tonic::async_trait]
impl CodeStore for Handler {
    type FetchCodeStream = BoxStream<'static, Result<FetchCodeResponse, Status>>;

    async fn fetch_code(
        &self,
        request: Request<FetchCodeRequest>,
    ) -> Result<Response<Self::FetchCodeStream>, Status> {
        let caller = Caller::of(&request);
        let FetchCodeRequest { hash } = request.into_inner();
        let chunks = Arc::clone(&self.registry).fetch_code(&caller, &hash).await?;
        let responses = chunks.map_ok(|chunk| FetchCodeResponse { chunk }).map_err(Status::from);
        Ok(Response::new(responses.boxed()))
    }
}
