//! Calls from this process: the handler gets the message itself, and the call's context as values.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use opentelemetry::Context;
use prost::Message;
use proto::Method;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status};

use super::stack::{Answer, Incoming, Stack};
use super::{Admission, Trailers};
use crate::MAX_MESSAGE_BYTES;
use crate::auth::{Caller, Secret};
use crate::deadline::Deadline;
use crate::error::{self, Error, Reason};

/// What a handler answers.
pub(crate) type Answered<M> = Result<Response<<M as Method>::Response>, Status>;

/// Calls the handler of a method.
pub(crate) type Handler<M> =
    Arc<dyn Fn(Request<<M as Method>::Request>) -> BoxFuture<'static, Answered<M>> + Send + Sync>;

/// Handlers by the paths of their methods; each is a [`Handler`].
#[derive(Default)]
pub(super) struct Handlers(HashMap<&'static str, Box<dyn Any + Send + Sync>>);

impl Handlers {
    pub(super) fn add<M: Method>(&mut self, handler: Handler<M>) {
        self.0.insert(M::PATH, Box::new(handler));
    }
}

/// The methods of a port that this process calls directly, within the same stack as calls from elsewhere.
#[derive(Clone)]
pub struct LocalMethods {
    pub(super) stack: Arc<Stack>,
    pub(super) handlers: Arc<Handlers>,
}

impl fmt::Debug for LocalMethods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.handlers.0.keys()).finish()
    }
}

impl LocalMethods {
    /// The handler of the method `M`.
    pub(crate) fn handler<M: Method>(&self) -> Option<Handler<M>> {
        self.handlers.0.get(M::PATH)?.downcast_ref().cloned()
    }

    /// Answers a call.
    pub(crate) async fn call<M: Method>(&self, call: LocalCall<M>) -> Answered<M> {
        let Answer { response, .. } = self.stack.answer(call).await;
        response
    }
}

/// A call from this process.
pub(crate) struct LocalCall<M: Method> {
    pub(crate) message: M::Request,
    pub(crate) deadline: Deadline,
    pub(crate) caller: Caller,
    pub(crate) secret: Option<Secret>,
    pub(crate) handler: Handler<M>,
}

impl<M: Method> Incoming for LocalCall<M> {
    type Response = Answered<M>;

    fn path(&self) -> &str {
        M::PATH
    }

    fn parent(&self) -> Context {
        Context::current()
    }

    fn has_deadline(&self) -> bool {
        true
    }

    fn deadline(&self) -> Result<Option<Deadline>, Error> {
        Ok(Some(self.deadline))
    }

    fn has_secret(&self, secret: &Secret) -> bool {
        // Both are this process's own, so the time of the comparison tells nobody anything.
        self.secret.as_ref() == Some(secret)
    }

    fn caller(&self) -> Result<Caller, Error> {
        Ok(self.caller.clone())
    }

    async fn admitted(self, _: &Admission) -> Result<Self, Error> {
        Err(Error::internal("a port that admits calls by their headers has no local methods"))
    }

    async fn handle(self, _: &Stack, caller: Caller, deadline: Option<Deadline>) -> Answered<M> {
        limit_size(&self.message)?;
        let mut request = Request::new(self.message);
        request.extensions_mut().insert(caller);
        if let Some(deadline) = deadline {
            request.extensions_mut().insert(deadline);
        }
        let mut response = (self.handler)(request).await.map_err(with_reason)?;
        limit_size(response.get_ref())?;
        if let Some(Trailers(trailers)) = response.extensions_mut().remove() {
            let mut metadata = std::mem::take(response.metadata_mut()).into_headers();
            metadata.extend(trailers);
            *response.metadata_mut() = MetadataMap::from_headers(metadata);
        }
        Ok(response)
    }

    fn refusal(error: Error) -> Answered<M> {
        Err(error.into())
    }

    fn code(response: &Answered<M>) -> Option<Code> {
        Some(response.as_ref().map_or_else(Status::code, |_| Code::Ok))
    }
}

/// Adds a reason to the status of an error that has none, as the mesh's own errors have.
fn with_reason(status: Status) -> Status {
    match error::without_reason(&status) {
        Some(error) => {
            let mut named = Status::from(error);
            *named.metadata_mut() = status.metadata().clone();
            named
        }
        None => status,
    }
}

/// Refuses a message that would be refused if it came from another process.
fn limit_size(message: &impl Message) -> Result<(), Status> {
    match message.encoded_len() {
        ..=MAX_MESSAGE_BYTES => Ok(()),
        size => {
            let message = format!("the message has {size} bytes; at most {MAX_MESSAGE_BYTES} are allowed");
            Err(Error::new(Reason::TooLarge, message).into())
        }
    }
}
