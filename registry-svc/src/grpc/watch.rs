//! `funless.registry.v1.Watch`.

use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt as _};
use mesh::Caller;
use proto::registry::v1::watch_server::Watch;
use proto::registry::v1::{WatchRequest, WatchResponse};
use tonic::{Request, Response, Status};

use super::Handler;

#[tonic::async_trait]
impl Watch for Handler {
    type WatchStream = BoxStream<'static, Result<WatchResponse, Status>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let subscription = Arc::clone(&self.hub).subscribe(Caller::of(&request));
        // After an error the stream is over.
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
