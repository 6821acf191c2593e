//! Receives a binary. Its size is limited and its hash computed while it streams; it is validated before it
//! is stored.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use mesh::Error;
use mesh::hash::Hasher;
use prometheus::IntCounterVec;
use proto::registry::v1::{Code, Limits};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::invalid::InvalidCode;
use super::validate::{Valid, validate};
use crate::error::{RegistryError, Result};

/// An upload that sends nothing for this long is aborted.
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// The unit of the memory limit for uploads.
const BLOCK_BYTES: usize = 1 << 10;

/// Receives binaries.
pub(crate) struct Uploads {
    max_bytes: usize,
    /// One permit for each block of memory.
    memory: Arc<Semaphore>,
    /// One permit for each processor.
    processors: Semaphore,
    outcomes: IntCounterVec,
}

/// A valid binary. It holds its memory reservation.
pub(crate) struct Upload {
    pub(crate) code: Code,
    pub(crate) bytes: Bytes,
    /// The size with which its memory begins, in bytes.
    pub(crate) memory_bytes: u64,
    _memory: OwnedSemaphorePermit,
}

/// Refuses code whose memory begins with `needed` bytes if the invocations of its function get less. The error is about
/// `field`.
pub(crate) fn check_memory(
    field: &'static str,
    needed: u64,
    limits: &Limits,
    max_memory_bytes: u64,
) -> Result<()> {
    let (given, whose) = match limits.memory_bytes {
        own if own != 0 && own < max_memory_bytes => (own, "the function's `memory_bytes`"),
        _ => (max_memory_bytes, "`max_memory_bytes` of the registry"),
    };
    if needed <= given {
        return Ok(());
    }
    let what =
        if field == "code" { "can never run: its memory" } else { "is too low: the memory of the code" };
    Err(RegistryError::field(
        field,
        format!("{what} begins with {needed} bytes; the limit is {given}, {whose}"),
    ))
}

impl Uploads {
    /// Limits each binary to `max_bytes` and all concurrent uploads together to `memory_bytes`.
    pub(crate) fn new(max_bytes: u32, memory_bytes: u32, outcomes: IntCounterVec) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            max_bytes: max_bytes as usize,
            memory: Arc::new(Semaphore::new(memory_bytes.div_ceil(BLOCK_BYTES as u32) as usize)),
            processors: Semaphore::new(processors),
            outcomes,
        }
    }

    /// Receives and validates the binary in `chunks`; `None` if there are no chunks.
    pub(crate) async fn receive(
        &self,
        chunks: impl Stream<Item = Result<Bytes, Error>>,
    ) -> Result<Option<Upload>> {
        let received = self.receive_uncounted(chunks).await;
        let outcome = match &received {
            Ok(Some(_)) => "accepted",
            Ok(None) => return received,
            Err(RegistryError::InvalidFields(_) | RegistryError::TooLarge { .. }) => "refused",
            Err(_) => "failed",
        };
        self.outcomes.with_label_values(&[outcome]).inc();
        received
    }

    async fn receive_uncounted(
        &self,
        chunks: impl Stream<Item = Result<Bytes, Error>>,
    ) -> Result<Option<Upload>> {
        let mut chunks = pin!(chunks);
        let mut memory = None;
        let mut bytes = BytesMut::new();
        let mut hasher = Hasher::default();
        loop {
            let chunk = tokio::time::timeout(STALLED_AFTER, chunks.next()).await;
            let chunk = match chunk.map_err(|_| RegistryError::UploadStalled(STALLED_AFTER))? {
                Some(chunk) => chunk?,
                None => break,
            };
            let size = bytes.len() + chunk.len();
            if size > self.max_bytes {
                return Err(RegistryError::TooLarge { what: "the code", limit: self.max_bytes as u64 });
            }
            self.reserve(&mut memory, size)?;
            hasher.update(&chunk);
            bytes.extend_from_slice(&chunk);
        }
        let Some(memory) = memory else { return Ok(None) };
        let bytes = bytes.freeze();
        let Valid { kind, memory_bytes } = self.validate(bytes.clone()).await?;
        let code = Code { hash: hasher.finish().to_bytes(), size: bytes.len() as u64, kind: kind.into() };
        Ok(Some(Upload { code, bytes, memory_bytes, _memory: memory }))
    }

    /// Grows the reservation `memory` to at least `bytes`.
    fn reserve(&self, memory: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> Result<()> {
        let reserved = memory.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.div_ceil(BLOCK_BYTES).saturating_sub(reserved);
        let more = u32::try_from(more).map_err(|_| RegistryError::UploadsFull)?;
        let more = Arc::clone(&self.memory).try_acquire_many_owned(more);
        let more = more.map_err(|_| RegistryError::UploadsFull)?;
        match memory {
            Some(memory) => memory.merge(more),
            None => *memory = Some(more),
        }
        Ok(())
    }

    /// Validates the binary on a blocking thread, so that it does not delay requests.
    async fn validate(&self, bytes: Bytes) -> Result<Valid> {
        let _processor = self.processors.acquire().await.map_err(|_| RegistryError::UploadsFull)?;
        let checked = tokio::task::spawn_blocking(move || validate(&bytes)).await;
        let checked = checked.map_err(|panic| Error::internal(format!("validating code: {panic}")))?;
        checked.map_err(|invalid: InvalidCode| RegistryError::field("code", invalid.to_string()))
    }
}
