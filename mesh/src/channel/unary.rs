//! Calls of methods whose handlers may be in this process.

use http::uri::PathAndQuery;
use proto::Method;
use tonic::{Code, Response, Status};
use tracing::Instrument as _;

use super::{Channel, Kind, entered};
use crate::MAX_MESSAGE_BYTES;
use crate::auth::Caller;
use crate::deadline::Deadline;
use crate::server::{Handler, LocalCall, LocalMethods};

impl Channel {
    /// Calls the method `M` on behalf of `caller`. A handler in this process gets the message itself; any other one is
    /// called as by a generated client. The call's context, limits and errors are the same.
    pub async fn unary<M: Method>(
        &self,
        message: M::Request,
        deadline: Deadline,
        caller: &Caller,
    ) -> Result<Response<M::Response>, Status> {
        let Some((methods, handler)) = self.local_method::<M>() else {
            let mut client = tonic::client::Grpc::new(self.clone())
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES);
            let request = caller.attach(deadline.attach(message));
            return client.unary(request, PathAndQuery::from_static(M::PATH), proto::Codec::default()).await;
        };
        let span = self.span_of(M::PATH);
        let (caller, secret) = (caller.clone(), self.secret.clone());
        let call = LocalCall::<M> { message, deadline, caller, secret, handler };
        let answered = methods.call(call).instrument(entered(span.as_ref())).await;
        if let Some(span) = span {
            span.ended(answered.as_ref().map_or_else(Status::code, |_| Code::Ok));
        }
        answered
    }

    /// The handler of `M`, if it is in this process.
    fn local_method<M: Method>(&self) -> Option<(&LocalMethods, Handler<M>)> {
        let Kind::Local(slot) = &self.kind else { return None };
        let methods = slot.get()?.methods.as_ref()?;
        Some((methods, methods.handler::<M>()?))
    }
}
