//! The server stack: what happens around every service's handlers.
//!
//! [`Grpc`] collects the gRPC services of one port and puts the stack around them. The result is an
//! `axum::Router`, which is served on a socket or called by a local channel.

mod body;
mod http;
mod local;
mod services;
mod stack;

use std::any::Any;
use std::convert::Infallible;
use std::sync::Arc;

use ::http::HeaderMap;
use axum::extract::Request;
use futures::future::BoxFuture;
use prometheus::Registry;
use proto::Method;
use tokio::sync::Semaphore;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic_health::ServingStatus;

pub use self::body::until;
use self::local::Handlers;
pub use self::local::LocalMethods;
pub(crate) use self::local::{Answered, Handler, LocalCall};
pub use self::services::ServiceFuture;
use self::services::Services;
use self::stack::Stack;
use crate::config::ServerConfig;
use crate::error::Error;
use crate::health::Readiness;
use crate::metrics::{RpcMetrics, show_permits};
use crate::reflection;
use crate::shutdown::Tasks;

/// A service as its `App` returns it, ready to be served.
#[derive(Debug)]
pub struct Service {
    /// Its name: `registry`.
    pub name: &'static str,
    /// The router that is served at `server.listen`, or through a local channel.
    pub router: axum::Router,
    /// The methods that services of the same process call directly.
    pub methods: Option<LocalMethods>,
    /// The routers of other listeners, by the listener's name.
    pub more: Vec<(&'static str, axum::Router)>,
    /// Its background tasks.
    pub tasks: Tasks,
    /// Whether it is ready.
    pub readiness: Readiness,
}

/// Additional trailers of a response. A handler sets them as an extension of its response.
#[derive(Debug, Clone, Default)]
pub struct Trailers(pub HeaderMap);

/// Something that is dropped once a response has been sent. A handler sets it as an extension of its response; a caller
/// in the same process gets it with the response.
#[derive(Clone)]
pub struct UntilSent(#[expect(dead_code, reason = "it is only held")] Arc<dyn Any + Send + Sync>);

impl UntilSent {
    /// Drops `held` once the response has been sent.
    pub fn new(held: impl Any + Send + Sync) -> Self {
        Self(Arc::new(held))
    }
}

/// The gRPC services of one port.
pub struct Grpc {
    services: Services,
    handlers: Handlers,
    names: Vec<&'static str>,
    begins_trace: fn(&str) -> bool,
    reflects: fn(&str) -> bool,
    filter: Filter,
    admission: Option<Admission>,
}

/// Changes a request before the stack sees it, or refuses it.
pub type Filter = fn(&mut Request) -> Result<(), Error>;

/// Admits a call by its headers, or refuses it.
pub type Admission = Arc<dyn Fn(Request) -> BoxFuture<'static, Result<Request, Error>> + Send + Sync>;

impl Default for Grpc {
    fn default() -> Self {
        Self {
            services: Services::default(),
            handlers: Handlers::default(),
            names: Vec::new(),
            begins_trace: |_| false,
            reflects: |_| true,
            filter: |_| Ok(()),
            admission: None,
        }
    }
}

impl Grpc {
    /// Calls without a trace begin one if `begins` returns true for their path. By default none do: within
    /// the mesh, calls without a trace are the services' own background work.
    #[must_use]
    pub fn begin_traces(mut self, begins: fn(&str) -> bool) -> Self {
        self.begins_trace = begins;
        self
    }

    /// Every request must pass `filter` before anything else. What it refuses is not counted.
    #[must_use]
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// Every call must pass `admission` before it takes a permit and before its body is read.
    #[must_use]
    pub fn admit(mut self, admission: Admission) -> Self {
        self.admission = Some(admission);
        self
    }

    /// Limits reflection to the methods for whose paths `reflects` returns true. The default is all methods
    /// of the port.
    #[must_use]
    pub fn reflect(mut self, reflects: fn(&str) -> bool) -> Self {
        self.reflects = reflects;
        self
    }

    /// Adds a service that is always ready, as generated ones are.
    #[must_use]
    pub fn service<S>(mut self, service: S) -> Self
    where
        S: tower::Service<
                ::http::Request<Body>,
                Response = ::http::Response<Body>,
                Error = Infallible,
                Future = ServiceFuture,
            > + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
    {
        self.names.push(S::NAME);
        self.services.add(service);
        self
    }

    /// Services of the same process call `M` with `handler`, which is also part of a service of this port.
    #[must_use]
    pub fn method<M: Method, F>(
        mut self,
        handler: impl Fn(tonic::Request<M::Request>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Answered<M>> + Send + 'static,
    {
        self.handlers.add::<M>(Arc::new(move |request| Box::pin(handler(request))));
        self
    }

    /// Adds health and reflection, and puts the stack around all services.
    pub fn build(
        self,
        config: &ServerConfig,
        metrics: &Registry,
        readiness: &Readiness,
        tasks: &Tasks,
    ) -> axum::Router {
        self.build_with_methods(config, metrics, readiness, tasks).0
    }

    /// Like [`Grpc::build`], with the methods for services of the same process.
    pub fn build_with_methods(
        self,
        config: &ServerConfig,
        metrics: &Registry,
        readiness: &Readiness,
        tasks: &Tasks,
    ) -> (axum::Router, LocalMethods) {
        let (reporter, health) = tonic_health::server::health_reporter();
        let (reflection, reflection_v1alpha) = reflection::services(&self.names, self.reflects);
        tasks.spawn(report_health(reporter, self.names, readiness.clone()));
        let mut services = self.services;
        services.add(health);
        services.add(reflection);
        services.add(reflection_v1alpha);

        let permits = Arc::new(Semaphore::new(config.max_concurrent));
        show_permits(metrics, "grpc", config.max_concurrent, &permits);
        let stack = Arc::new(Stack {
            services,
            filter: self.filter,
            begins_trace: self.begins_trace,
            metrics: RpcMetrics::new(metrics),
            secret: config.secret.clone(),
            admission: self.admission,
            permits,
            readiness: readiness.clone(),
        });
        let methods = LocalMethods { stack: Arc::clone(&stack), handlers: Arc::new(self.handlers) };
        let router = axum::Router::new().fallback_service(tower::service_fn(move |request| {
            let answer = Arc::clone(&stack).serve(request);
            async { Ok::<_, Infallible>(answer.await) }
        }));
        (router, methods)
    }
}

/// Reports the readiness as the status of each service in the gRPC health service.
async fn report_health(
    reporter: tonic_health::server::HealthReporter,
    names: Vec<&'static str>,
    readiness: Readiness,
) {
    let mut ready = readiness.watch();
    loop {
        let status = match *ready.borrow_and_update() {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        };
        for name in names.iter().copied().chain([""]) {
            reporter.set_service_status(name, status).await;
        }
        if ready.changed().await.is_err() {
            return;
        }
    }
}
