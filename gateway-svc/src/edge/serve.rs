//! Adapts a handler of calls to a tonic service.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use mesh::Error;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;

use crate::clients::for_clients;

/// A handler of the calls of a service.
pub(super) trait Handle: Clone + Send + Sync + 'static {
    /// Answers a call. An error is returned to the client.
    fn handle(
        self,
        request: http::Request<Body>,
    ) -> impl Future<Output = Result<http::Response<Body>, Error>> + Send;
}

/// Makes `handler` serve the service `S`.
pub(super) fn serve<S, H>(handler: H) -> Serve<S, H> {
    Serve { handler, service: PhantomData }
}

/// See [`serve`].
pub(super) struct Serve<S, H> {
    handler: H,
    service: PhantomData<fn(S)>,
}

impl<S, H: Clone> Clone for Serve<S, H> {
    fn clone(&self) -> Self {
        serve(self.handler.clone())
    }
}

impl<S: NamedService, H> NamedService for Serve<S, H> {
    const NAME: &'static str = S::NAME;
}

impl<S, H: Handle> tower::Service<http::Request<Body>> for Serve<S, H> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = self.handler.clone().handle(request);
        Box::pin(async move {
            let refuse = |error| Status::from(for_clients(error)).into_http();
            Ok(answer.await.unwrap_or_else(refuse))
        })
    }
}
