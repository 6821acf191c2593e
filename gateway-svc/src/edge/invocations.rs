//! Invocations at the gRPC port: their arguments must be JSON, as in REST; everything else is forwarded.
//!
//! Only this module validates arguments from this port: no service behind the gateway parses them.

use http::HeaderMap;
use mesh::{Error, MAX_MESSAGE_BYTES, Reason};
use proto::scheduler::v1::InvokeRequest;
use tonic::Streaming;
use tonic::body::Body;
use tonic::codec::{Codec as _, EncodeBody};

use super::Upstream;
use super::serve::Handle;
use crate::json;

type Codec = proto::Codec<InvokeRequest, InvokeRequest>;

/// The [`Upstream`] to the scheduler's invocations.
#[derive(Debug, Clone)]
pub(super) struct CheckedInvocations {
    upstream: Upstream,
}

impl CheckedInvocations {
    pub(super) fn new(upstream: &Upstream) -> Self {
        Self { upstream: upstream.clone() }
    }
}

impl Handle for CheckedInvocations {
    async fn handle(self, mut request: http::Request<Body>) -> Result<http::Response<Body>, Error> {
        let admitted = self.upstream.admit(&mut request)?;
        let (parts, body) = request.into_parts();
        refuse_compressed(&parts.headers)?;
        let invoke = read(body).await?;
        if !invoke.args.is_empty() {
            let wrong =
                |problem| Error::new(Reason::BadRequest, format!("args is not valid JSON: {problem}"));
            json::check(&invoke.args).map_err(wrong)?;
        }
        let message = futures::stream::iter([Ok(invoke)]);
        let body = EncodeBody::new_client(Codec::default().encoder(), message, None, None);
        self.upstream.forward_admitted(http::Request::from_parts(parts, Body::new(body)), admitted).await
    }
}

/// The services behind this port do not support compressed messages either.
fn refuse_compressed(headers: &HeaderMap) -> Result<(), Error> {
    match headers.get("grpc-encoding") {
        Some(encoding) if encoding != "identity" => {
            let message = format!("messages compressed with {encoding:?} are not supported");
            Err(Error::new(Reason::Unimplemented, message))
        }
        _ => Ok(()),
    }
}

/// The call's only message.
async fn read(body: Body) -> Result<InvokeRequest, Error> {
    let decoder = Codec::default().decoder();
    let mut messages = Streaming::new_request(decoder, body, None, Some(MAX_MESSAGE_BYTES));
    let unreadable = |status| Error::of_request(&status);
    let message = messages.message().await.map_err(unreadable)?;
    message.ok_or_else(|| Error::new(Reason::BadRequest, "the call has no message"))
}
