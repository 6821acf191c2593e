//! `funless.registry.v1.Watch` and `Revisions`.

use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt as _};
use mesh::Caller;
use proto::registry::v1::revisions_server::Revisions;
use proto::registry::v1::watch_server::Watch;
use proto::registry::v1::{GetRevisionRequest, GetRevisionResponse, WatchRequest, WatchResponse};
use tonic::{Request, Response, Status};

use super::Handler;
use crate::error::RegistryError;

#[tonic::async_trait]
impl Watch for Handler {
    type WatchStream = BoxStream<'static, Result<WatchResponse, Status>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let caller = Caller::of(&request);
        let WatchRequest { only_revisions } = request.into_inner();
        let subscription = Arc::clone(&self.subscriptions).subscribe(caller, only_revisions);
        // The stream ends after an error.
        let responses = stream::unfold(Some(subscription), async |subscription| {
            let mut subscription = subscription?;
            match subscription.next().await {
                Ok(response) => Some((Ok(response), Some(subscription))),
                Err(error) => Some((Err(error.into()), None)),
            }
        });
        let until_draining = responses.take_until(self.draining.clone().cancelled_owned());
        Ok(Response::new(until_draining.boxed()))
    }
}

#[tonic::async_trait]
impl Revisions for Handler {
    async fn get_revision(
        &self,
        request: Request<GetRevisionRequest>,
    ) -> Result<Response<GetRevisionResponse>, Status> {
        Caller::of(&request).only_services()?;
        let store = &self.registry.store;
        // Other replicas write to the database, too.
        store.refresh().await.map_err(RegistryError::from)?;
        let revision = *store.newest().borrow();
        Ok(Response::new(GetRevisionResponse { revision }))
    }
}
