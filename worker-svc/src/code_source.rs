//! Fetches code from the registry by its hash, and verifies it.

use std::time::Duration;

use bytes::BytesMut;
use mesh::deadline::Deadline;
use mesh::hash::{Hash, Hasher};
use mesh::{Channel, MAX_MESSAGE_BYTES, Reason};
use proto::registry::v1::FetchCodeRequest;
use proto::registry::v1::code_store_client::CodeStoreClient;

use crate::error::Error;

/// More than any registry stores as the code of one function, in bytes.
const MAX_CODE_BYTES: usize = 256 << 20;

/// The registry's store of code.
#[derive(Debug, Clone)]
pub(crate) struct CodeSource {
    registry: CodeStoreClient<Channel>,
    timeout: Duration,
}

impl CodeSource {
    pub(crate) fn new(registry: Channel, timeout: Duration) -> Self {
        let registry = CodeStoreClient::new(registry).max_decoding_message_size(MAX_MESSAGE_BYTES);
        Self { registry, timeout }
    }

    /// Fetches the code with this hash. Refuses what has another one.
    pub(crate) async fn fetch(&self, hash: Hash) -> Result<BytesMut, Error> {
        let deadline = Deadline::after(self.timeout);
        let fetching = tokio::time::timeout_at(deadline.instant(), self.receive(hash, deadline));
        let (code, received) = fetching
            .await
            .map_err(|_| Error::CodeUnavailable("the registry took too long".into()))?
            .map_err(|error| match error.reason {
                Reason::CodeNotFound => Error::CodeNotFound,
                _ => Error::CodeUnavailable(error.message),
            })?;
        if received != hash {
            tracing::error!(%hash, %received, "the registry sent other code than requested");
            return Err(Error::CodeUnusable("what the registry sent does not have the code's hash".into()));
        }
        Ok(code)
    }

    async fn receive(&self, hash: Hash, deadline: Deadline) -> Result<(BytesMut, Hash), mesh::Error> {
        let request = deadline.attach(FetchCodeRequest { hash: hash.to_bytes() });
        let mut chunks = self.registry.clone().fetch_code(request).await?.into_inner();
        let (mut code, mut hasher) = (BytesMut::new(), Hasher::default());
        while let Some(message) = chunks.message().await? {
            if code.len() + message.chunk.len() > MAX_CODE_BYTES {
                let message = format!("the code is larger than {MAX_CODE_BYTES} bytes");
                return Err(mesh::Error::new(Reason::TooLarge, message));
            }
            hasher.update(&message.chunk);
            code.extend_from_slice(&message.chunk);
        }
        Ok((code, hasher.finish()))
    }
}
