//! Downloads of the binaries of functions.

use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, TryStreamExt as _};
use mesh::Caller;
use mesh::hash::Hash;

use crate::error::{RegistryError, Result};
use crate::registry::Registry;

impl Registry {
    /// The binary with this hash, in chunks that are read as they are sent. The stream ends with
    /// `CodeNotFound` if the last function that uses the binary is deleted in the meantime.
    pub(crate) async fn fetch_code(
        self: Arc<Self>,
        caller: &Caller,
        hash: &[u8],
    ) -> Result<impl Stream<Item = Result<Bytes>> + use<>> {
        caller.only_services()?;
        let hash = Hash::try_from(hash).map_err(|error| RegistryError::field("hash", error.to_string()))?;
        let chunks = self.store.read().code_chunks(&hash).await?;
        let chunks = chunks.ok_or(RegistryError::CodeNotFound(hash))?;
        let positions = futures::stream::iter((0..chunks).map(Ok));
        Ok(positions.and_then(move |position| {
            let registry = Arc::clone(&self);
            async move {
                let chunk = registry.store.read().code_chunk(&hash, position).await?;
                chunk.map(Bytes::from).ok_or(RegistryError::CodeNotFound(hash))
            }
        }))
    }
}
