//! The gRPC port for clients.
//!
//! Clients of this port use the mesh's own gRPC services. The gateway verifies the token, looks the method up
//! in a table and forwards the call as it is, with its streams in both directions, trailers, deadline and
//! cancellation. Methods that are not in the table are refused, and reflection does not list them. Two kinds
//! of calls are checked before they are forwarded: the creation of a script (`scripts`) and the arguments of
//! an invocation (`invocations`).

mod invocations;
mod scripts;
mod serve;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HOST};
use mesh::channel::Channel;
use mesh::config::ServerConfig;
use mesh::deadline::{Deadline, GRPC_TIMEOUT};
use mesh::health::Readiness;
use mesh::server::{Admission, Grpc};
use mesh::shutdown::Tasks;
use mesh::{Caller, Error, Host, Reason};
use proto::connector::v1::dead_letters_server::DeadLettersServer as EventDeadLettersServer;
use proto::connector::v1::events_server::EventsServer;
use proto::registry::v1::functions_server::FunctionsServer;
use proto::registry::v1::modules_server::ModulesServer;
use proto::registry::v1::scripts_server::ScriptsServer;
use proto::registry::v1::subjects_server::SubjectsServer;
use proto::registry::v1::watch_server::WatchServer;
use proto::scheduler::v1::cluster_server::ClusterServer;
use proto::scheduler::v1::invocations_server::InvocationsServer;
use proto::scheduler::v1::logs_server::LogsServer;
use proto::scheduler::v1::policies_server::PoliciesServer;
use proto::sink::v1::dead_letters_server::DeadLettersServer as SinkDeadLettersServer;
use proto::sink::v1::sinks_server::SinksServer;
use tonic::body::Body;

use crate::Config;
use crate::auth::Authenticator;
use crate::body_rate::{RatedBody, TooSlow};
use crate::clients::{Channels, for_clients};
use crate::revision::LatestRevision;
use crate::subscriptions::Subscriptions;
use invocations::CheckedInvocations;
use scripts::CheckedScripts;
use serve::{Handle, Serve, serve};

/// Who may call a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Audience {
    /// Every user with a valid token.
    Users,
    /// Administrators.
    Admins,
}

/// The methods of this port, in addition to health and reflection. A new method of an allowed service is
/// refused until it is added here.
const ALLOWED: &[(&str, Audience)] = &[
    ("/funless.registry.v1.Modules/CreateModule", Audience::Users),
    ("/funless.registry.v1.Modules/GetModule", Audience::Users),
    ("/funless.registry.v1.Modules/ListModules", Audience::Users),
    ("/funless.registry.v1.Modules/RenameModule", Audience::Users),
    ("/funless.registry.v1.Modules/DeleteModule", Audience::Users),
    ("/funless.registry.v1.Functions/CreateFunction", Audience::Users),
    ("/funless.registry.v1.Functions/GetFunction", Audience::Users),
    ("/funless.registry.v1.Functions/ListFunctions", Audience::Users),
    ("/funless.registry.v1.Functions/UpdateFunction", Audience::Users),
    ("/funless.registry.v1.Functions/DeleteFunction", Audience::Users),
    ("/funless.registry.v1.Scripts/CreateScript", Audience::Users),
    ("/funless.registry.v1.Scripts/GetScript", Audience::Users),
    ("/funless.registry.v1.Scripts/ListScripts", Audience::Users),
    ("/funless.registry.v1.Scripts/DeleteScript", Audience::Users),
    ("/funless.registry.v1.Watch/Watch", Audience::Users),
    ("/funless.registry.v1.Subjects/CreateSubject", Audience::Admins),
    ("/funless.registry.v1.Subjects/ListSubjects", Audience::Admins),
    ("/funless.registry.v1.Subjects/DeleteSubject", Audience::Admins),
    ("/funless.scheduler.v1.Invocations/Invoke", Audience::Users),
    ("/funless.scheduler.v1.Logs/TailLogs", Audience::Users),
    ("/funless.scheduler.v1.Cluster/ListWorkers", Audience::Admins),
    ("/funless.scheduler.v1.Policies/CheckScript", Audience::Users),
    ("/funless.scheduler.v1.Policies/Explain", Audience::Users),
    ("/funless.scheduler.v1.Policies/ListDecisions", Audience::Users),
    ("/funless.scheduler.v1.Policies/Simulate", Audience::Users),
    ("/funless.connector.v1.Events/ListEventLedgers", Audience::Users),
    ("/funless.connector.v1.DeadLetters/ListDeadLetters", Audience::Users),
    ("/funless.connector.v1.DeadLetters/GetDeadLetter", Audience::Users),
    ("/funless.connector.v1.DeadLetters/RedriveDeadLetters", Audience::Users),
    ("/funless.connector.v1.DeadLetters/PurgeDeadLetters", Audience::Users),
    ("/funless.sink.v1.Sinks/ListSinkLedgers", Audience::Users),
    ("/funless.sink.v1.DeadLetters/ListDeadLetters", Audience::Users),
    ("/funless.sink.v1.DeadLetters/GetDeadLetter", Audience::Users),
    ("/funless.sink.v1.DeadLetters/RedriveDeadLetters", Audience::Users),
    ("/funless.sink.v1.DeadLetters/PurgeDeadLetters", Audience::Users),
];

/// Health and reflection, which need no token. Older clients, such as those in Python, support only v1alpha.
const OPEN: &[&str] = &[
    "/grpc.health.v1.Health/Check",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// The methods whose responses end only when the caller cancels, its token is revoked, or this gateway
/// drains.
const SUBSCRIPTIONS: &[&str] = &["/funless.registry.v1.Watch/Watch", "/funless.scheduler.v1.Logs/TailLogs"];

/// The prefix of headers that only services of the mesh may set.
const INTERNAL_HEADERS: &str = "x-funless-";

fn audience(method: &str) -> Option<Audience> {
    ALLOWED.iter().find(|(allowed, _)| *allowed == method).map(|(_, audience)| *audience)
}

/// Whether this port has the method.
fn serves(method: &str) -> bool {
    audience(method).is_some() || OPEN.contains(&method)
}

/// The router of the port: the mesh's server stack around the services that forward calls. `registry` is the
/// upstream to the registry.
pub(crate) fn router(
    config: &Config,
    host: &Host,
    registry: Upstream,
    channels: &Channels,
    readiness: &Readiness,
    tasks: &Tasks,
) -> axum::Router {
    let scheduler = Upstream { to: channels.scheduler.clone(), ..registry.clone() };
    let connector = Upstream { to: channels.connector.clone(), ..registry.clone() };
    let sink = Upstream { to: channels.sink.clone(), ..registry.clone() };
    // Clients authenticate with tokens, not with the mesh's secret.
    let server = ServerConfig { secret: None, ..config.server.clone() };
    Grpc::default()
        .filter(refuse_unknown_methods)
        .admit(admission(config, &registry.authenticator))
        .begin_traces(|path| audience(path).is_some() && !SUBSCRIPTIONS.contains(&path))
        .reflect(serves)
        .service(registry.forward::<ModulesServer<()>>())
        .service(registry.forward::<FunctionsServer<()>>())
        .service(serve::<ScriptsServer<()>, _>(CheckedScripts::new(&registry, channels)))
        .service(registry.forward::<SubjectsServer<()>>())
        .service(registry.forward::<WatchServer<()>>())
        .service(serve::<InvocationsServer<()>, _>(CheckedInvocations::new(&scheduler)))
        .service(scheduler.forward::<LogsServer<()>>())
        .service(scheduler.forward::<ClusterServer<()>>())
        .service(scheduler.forward::<PoliciesServer<()>>())
        .service(connector.forward::<EventsServer<()>>())
        .service(connector.forward::<EventDeadLettersServer<()>>())
        .service(sink.forward::<SinksServer<()>>())
        .service(sink.forward::<SinkDeadLettersServer<()>>())
        .build(&server, &host.metrics, readiness, tasks)
}

/// The user of a call. An extension of calls that need a token.
#[derive(Debug, Clone)]
struct Authenticated(Caller);

/// Verifies tokens before calls take a permit, and requires a minimum rate of their bodies.
fn admission(config: &Config, authenticator: &Authenticator) -> Admission {
    let (authenticator, min_rate) = (authenticator.clone(), config.min_body_bytes_per_s);
    Arc::new(move |mut request: Request| {
        let authenticator = authenticator.clone();
        Box::pin(async move {
            if audience(request.uri().path()).is_none() {
                return Ok(request);
            }
            let address = request.extensions().get().copied();
            let caller = authenticator.authenticate(request.headers(), address).await.map_err(for_clients)?;
            request.extensions_mut().insert(Authenticated(caller));
            Ok(request.map(|body| RatedBody::wrap(body, min_rate, &TooSlow::default())))
        })
    })
}

/// Runs before the stack, so that unknown paths never become metric labels and internal headers from clients
/// never reach the stack.
fn refuse_unknown_methods(request: &mut Request) -> Result<(), Error> {
    let path = request.uri().path();
    if !serves(path) {
        let message = format!("this port has no method {path}; reflection lists those that it has");
        return Err(Error::new(Reason::Unimplemented, message));
    }
    remove_internal(request.headers_mut());
    Ok(())
}

fn remove_internal(headers: &mut HeaderMap) {
    let internal: Vec<_> =
        headers.keys().filter(|name| name.as_str().starts_with(INTERNAL_HEADERS)).cloned().collect();
    for name in internal {
        headers.remove(name);
    }
}

/// Forwards calls to one of the services behind the gateway.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    to: Channel,
    authenticator: Authenticator,
    /// Notes the revisions of writes, so that reads through REST see them.
    latest_revision: Arc<LatestRevision>,
    subscriptions: Subscriptions,
    /// The maximum timeout of a call: every call gets a deadline.
    max_timeout: Duration,
}

impl Upstream {
    /// An upstream to the service behind `to`.
    pub(crate) fn new(
        config: &Config,
        to: Channel,
        authenticator: &Authenticator,
        subscriptions: &Subscriptions,
        latest_revision: &Arc<LatestRevision>,
    ) -> Self {
        Self {
            to,
            authenticator: authenticator.clone(),
            latest_revision: Arc::clone(latest_revision),
            subscriptions: subscriptions.clone(),
            max_timeout: Duration::from_secs(config.request_timeout_s),
        }
    }

    /// Forwards the calls of the service `S`.
    fn forward<S>(&self) -> Serve<S, Self> {
        serve(self.clone())
    }

    /// Admits a call if its user may make it, and makes it a call on behalf of that user.
    fn admit(&self, request: &mut http::Request<Body>) -> Result<Admitted, Error> {
        let deadline = Deadline::after(self.max_timeout);
        let deadline =
            request.extensions().get().copied().map_or(deadline, |own: Deadline| own.min(deadline));
        let token_header = token_of(request.headers());
        let Some(Authenticated(caller)) = request.extensions_mut().remove() else {
            return Err(Error::internal("the call was not authenticated"));
        };
        match (audience(request.uri().path()), &caller) {
            (Some(Audience::Users), _) | (Some(Audience::Admins), Caller::Admin(_)) => {}
            _ => return Err(Error::new(Reason::PermissionDenied, "only administrators may do this")),
        }
        let headers = request.headers_mut();
        headers.remove(AUTHORIZATION);
        headers.remove(HOST);
        caller.put(headers);
        headers.remove(GRPC_TIMEOUT);
        // Extensions of this port's layers have no meaning for the service behind it.
        request.extensions_mut().clear();
        Ok(Admitted { caller, deadline, token_header })
    }

    /// Forwards an admitted call.
    async fn forward_admitted(
        self,
        mut request: http::Request<Body>,
        admitted: Admitted,
    ) -> Result<http::Response<Body>, Error> {
        let Admitted { caller, deadline, token_header } = admitted;
        if SUBSCRIPTIONS.contains(&request.uri().path()) {
            return self.subscribe(request, caller, token_header).await;
        }
        request.headers_mut().insert(GRPC_TIMEOUT, deadline.to_header());
        let response = tower::Service::call(&mut self.to.clone(), request).await?;
        let revision = response.headers().get(mesh::REVISION_HEADER);
        if let Some(revision) = revision.and_then(|value| value.to_str().ok()?.parse().ok()) {
            self.latest_revision.note(revision);
        }
        Ok(response)
    }

    /// Forwards a subscription. It ends when this gateway drains or the token is revoked.
    async fn subscribe(
        self,
        request: http::Request<Body>,
        caller: Caller,
        token_header: HeaderMap,
    ) -> Result<http::Response<Body>, Error> {
        let end = self.subscriptions.begin(token_header, caller)?;
        let response = tower::Service::call(&mut self.to.clone(), request).await?;
        Ok(response.map(|body| mesh::server::until(body, end)))
    }
}

impl Handle for Upstream {
    /// Forwards a call as it is.
    async fn handle(self, mut request: http::Request<Body>) -> Result<http::Response<Body>, Error> {
        let admitted = self.admit(&mut request)?;
        self.forward_admitted(request, admitted).await
    }
}

/// An admitted call.
struct Admitted {
    caller: Caller,
    /// The deadline of the client or of this gateway, whichever is earlier.
    deadline: Deadline,
    /// The `authorization` header with its token.
    token_header: HeaderMap,
}

/// Only the `authorization` header of a request.
fn token_of(headers: &HeaderMap) -> HeaderMap {
    headers.get(AUTHORIZATION).map(|token| (AUTHORIZATION, token.clone())).into_iter().collect()
}
