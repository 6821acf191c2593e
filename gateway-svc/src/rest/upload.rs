//! Uploads: `multipart/form-data`, read part by part.
//!
//! Parts come in any order, but the registry requires the specification before the code. So the code is
//! spooled to an unnamed temporary file, and an upload is never completely in memory.

mod part_headers;

use std::collections::HashSet;
use std::io::SeekFrom;

use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Request};
use bytes::{Bytes, BytesMut};
use futures::Stream;
use http::StatusCode;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;

use self::part_headers::{HeaderBudget, MAX_HEADER_BYTES, budgeted};
use super::Rest;
use super::error::ApiError;
use super::extract::in_time;

/// The maximum number of parts.
const MAX_PARTS: usize = 64;

/// The maximum size of a text part.
const MAX_TEXT_BYTES: usize = 1 << 20;
/// The maximum size of an upload without its code: text parts, ignored parts, boundaries.
pub(super) const BESIDE_CODE_BYTES: usize = 16 << 20;
/// The size of the chunks of code in messages to the registry.
const CHUNK_BYTES: usize = 256 << 10;

/// The parts of an upload. Their names are unique.
pub(super) struct Form {
    parts: Multipart,
    names: HashSet<String>,
    headers: HeaderBudget,
}

impl FromRequest<Rest> for Form {
    type Rejection = ApiError;

    async fn from_request(request: Request, rest: &Rest) -> Result<Self, ApiError> {
        let headers = HeaderBudget::default();
        let request = request.map(|body| budgeted(body, headers.clone()));
        match Multipart::from_request(request, rest).await {
            Ok(parts) => Ok(Self { parts, names: HashSet::new(), headers }),
            Err(rejection) => Err(ApiError::bad_request(rejection.body_text())),
        }
    }
}

impl Form {
    /// The next part and its name. The previous part must have been read to its end. A duplicate part is refused,
    /// since it would be unclear which one counts.
    pub(super) async fn next(&mut self) -> Result<Option<(String, Part<'_>)>, ApiError> {
        self.headers.begin();
        let field = in_time(self.parts.next_field()).await?;
        if field.is_err() && self.headers.is_exhausted() {
            return Err(ApiError::too_large("the header of a part", MAX_HEADER_BYTES as u64));
        }
        self.headers.end();
        let Some(field) = field.map_err(refused)? else { return Ok(None) };
        let name = field.name().unwrap_or_default().to_owned();
        if self.names.len() == MAX_PARTS {
            return Err(ApiError::bad_request(format!("an upload may have at most {MAX_PARTS} parts")));
        }
        if !self.names.insert(name.clone()) {
            return Err(ApiError::bad_request(format!("the part `{name}` is there twice")));
        }
        Ok(Some((name, Part(field))))
    }
}

/// One part of an upload.
pub(super) struct Part<'f>(Field<'f>);

impl Part<'_> {
    /// Reads the part to its end and ignores it.
    pub(super) async fn skip(mut self) -> Result<(), ApiError> {
        while self.next().await?.is_some() {}
        Ok(())
    }

    /// The part as a short text.
    pub(super) async fn text(self) -> Result<String, ApiError> {
        let name = self.0.name().unwrap_or_default().to_owned();
        let not_text = |_| ApiError::bad_request(format!("the part `{name}` is not UTF-8 text"));
        String::from_utf8(self.bytes().await?).map_err(not_text)
    }

    /// The part as a short file.
    pub(super) async fn bytes(mut self) -> Result<Vec<u8>, ApiError> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.next().await? {
            if bytes.len() + piece.len() > MAX_TEXT_BYTES {
                return Err(ApiError::too_large("a text part", MAX_TEXT_BYTES as u64));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    /// The part as a function's binary of at most `limit` bytes.
    pub(super) async fn code(mut self, limit: u64) -> Result<Code, ApiError> {
        let file = tokio::task::spawn_blocking(tempfile::tempfile).await.map_err(ApiError::internal)?;
        let mut file = File::from_std(file.map_err(cannot_spool)?);
        let mut size = 0;
        while let Some(piece) = self.next().await? {
            size += piece.len() as u64;
            if size > limit {
                return Err(ApiError::too_large("code", limit));
            }
            file.write_all(&piece).await.map_err(cannot_spool)?;
        }
        file.flush().await.map_err(cannot_spool)?;
        Ok(Code { file, size })
    }

    async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        in_time(self.0.chunk()).await?.map_err(refused)
    }
}

fn refused(error: MultipartError) -> ApiError {
    match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::upload_too_large(),
        _ => ApiError::bad_request(error.body_text()),
    }
}

fn cannot_spool(error: std::io::Error) -> ApiError {
    ApiError::internal(format!("an upload cannot be kept in a temporary file: {error}"))
}

/// A function's binary, in an unnamed temporary file that is deleted when this is dropped.
#[derive(Debug)]
pub(super) struct Code {
    file: File,
    size: u64,
}

/// Receives the error if the code cannot be read to its end.
pub(super) type ReadFailure = oneshot::Receiver<std::io::Error>;

impl Code {
    pub(super) fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// The code in chunks. A stream of messages cannot fail, and one that ends early would look complete. So
    /// if reading fails, the stream stays pending and the second value receives the error.
    pub(super) async fn into_chunks(
        mut self,
    ) -> Result<(impl Stream<Item = Bytes> + Send + use<>, ReadFailure), ApiError> {
        self.file.seek(SeekFrom::Start(0)).await.map_err(cannot_spool)?;
        let (failed, failure) = oneshot::channel();
        let chunks = futures::stream::unfold((self.file, failed), |(mut file, failed)| async {
            match next_chunk(&mut file).await {
                Ok(chunk) if chunk.is_empty() => None,
                Ok(chunk) => Some((chunk, (file, failed))),
                Err(error) => {
                    let _ = failed.send(error);
                    std::future::pending().await
                }
            }
        });
        Ok((chunks, failure))
    }
}

async fn next_chunk(file: &mut File) -> std::io::Result<Bytes> {
    let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
    while chunk.len() < CHUNK_BYTES {
        let room = CHUNK_BYTES - chunk.len();
        if file.take(room as u64).read_buf(&mut chunk).await? == 0 {
            break;
        }
    }
    Ok(chunk.freeze())
}

/// Waits for `call`, unless the code that it sends cannot be read.
pub(super) async fn unless_unreadable<T>(
    call: impl Future<Output = Result<T, tonic::Status>>,
    failure: ReadFailure,
) -> Result<T, ApiError> {
    tokio::pin!(call);
    tokio::select! {
        outcome = &mut call => Ok(outcome?),
        // If the code was read to its end, the sender is dropped without an error.
        Ok(error) = failure => Err(cannot_spool(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_read_error_of_the_code_ends_the_call() {
        let (failed, failure) = oneshot::channel();
        failed.send(std::io::Error::other("the disk is gone")).expect("a receiver");
        let outcome = unless_unreadable(std::future::pending::<Result<(), _>>(), failure).await;
        assert!(outcome.is_err());
    }

    #[tokio::test]
    async fn code_read_to_its_end_does_not_end_the_call() {
        let (failed, failure) = oneshot::channel();
        drop(failed);
        let call = async {
            tokio::task::yield_now().await;
            Ok(7)
        };
        assert_eq!(unless_unreadable(call, failure).await.ok(), Some(7));
    }
}
