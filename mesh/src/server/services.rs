//! The gRPC services of one port, by name.

use std::collections::HashMap;
use std::convert::Infallible;

use futures::future::BoxFuture;
use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;

/// The future of a generated service.
pub type ServiceFuture = BoxFuture<'static, Result<Response<Body>, Infallible>>;

/// The services, each found by the first part of a path such as `/funless.worker.v1.Execution/Execute`.
#[derive(Default)]
pub(super) struct Services(HashMap<&'static str, Box<dyn Handle>>);

/// A service whose type is forgotten.
trait Handle: Send + Sync {
    fn handle(&self, request: Request<Body>) -> ServiceFuture;
}

impl<S> Handle for S
where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future = ServiceFuture>
        + Clone
        + Send
        + Sync,
{
    fn handle(&self, request: Request<Body>) -> ServiceFuture {
        // Generated services are always ready.
        self.clone().call(request)
    }
}

impl Services {
    /// Adds a service.
    pub(super) fn add<S>(&mut self, service: S)
    where
        S: tower::Service<
                Request<Body>,
                Response = Response<Body>,
                Error = Infallible,
                Future = ServiceFuture,
            > + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
    {
        self.0.insert(S::NAME, Box::new(service));
    }

    /// Calls the handler of the request's method.
    pub(super) async fn call(&self, request: Request<Body>) -> Response<Body> {
        let name = request.uri().path().strip_prefix('/').and_then(|path| path.split_once('/'));
        let Some(service) = name.and_then(|(name, _)| self.0.get(name)) else {
            return Status::unimplemented("").into_http();
        };
        match service.handle(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}
