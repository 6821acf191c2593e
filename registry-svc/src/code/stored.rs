//! The memory of stored code, read from as little of it as possible.

use mesh::Error;
use mesh::hash::Hash;
use wasmparser::{BinaryReader, BinaryReaderError, MemorySectionReader};

use super::outline::memory_size;
use crate::error::{RegistryError, Result};
use crate::store::{CODE_CHUNK_BYTES, Reader};

/// Where the first section begins, after magic and version.
const FIRST_SECTION: usize = 8;
/// At least the length of a memory section with one memory, which is a few small numbers.
const WINDOW_BYTES: usize = 64;
const MEMORY_SECTION: u8 = 5;

/// What the beginning of a section says.
#[derive(Debug, PartialEq, Eq)]
enum Section {
    /// The size with which the memory begins, in bytes.
    Memory(u64),
    /// A memory may follow after so many bytes.
    Other(usize),
    /// No memory follows.
    Later,
}

/// The size with which the memory of stored code begins, in bytes.
pub(crate) async fn stored_memory_bytes(reader: &Reader<'_>, hash: &[u8]) -> Result<u64> {
    let hash = &Hash::try_from(hash).map_err(|error| Error::internal(error.to_string()))?;
    let (mut at, mut chunks) = (FIRST_SECTION, Chunks { reader, hash, position: 0, bytes: Vec::new() });
    loop {
        let window = chunks.window(at).await?;
        match section(&window).map_err(|error| Error::internal(format!("stored code {hash}: {error}")))? {
            Section::Memory(bytes) => return Ok(bytes),
            Section::Other(len) => at += len,
            Section::Later => return Ok(0),
        }
    }
}

/// Reads the beginning of a section.
fn section(window: &[u8]) -> Result<Section, BinaryReaderError> {
    if window.is_empty() {
        return Ok(Section::Later);
    }
    let mut reader = BinaryReader::new(window, 0);
    let (id, len) = (reader.read_u8()?, reader.read_var_u32()? as usize);
    // The sections before that of the memory have lower numbers, and custom sections have 0.
    Ok(match id {
        0..MEMORY_SECTION => Section::Other(reader.current_position() + len),
        MEMORY_SECTION => {
            let memories = MemorySectionReader::new(BinaryReader::new(reader.read_bytes(len)?, 0))?;
            let largest = memories.into_iter().map(|memory| memory.map(memory_size));
            Section::Memory(largest.collect::<Result<Vec<_>, _>>()?.into_iter().max().unwrap_or(0))
        }
        _ => Section::Later,
    })
}

/// Reads stored code by its chunks, and keeps the last one.
struct Chunks<'a> {
    reader: &'a Reader<'a>,
    hash: &'a Hash,
    /// Of the chunk after `bytes`.
    position: u32,
    bytes: Vec<u8>,
}

impl Chunks<'_> {
    /// The bytes from `at` on, at most `WINDOW_BYTES`; none after the end.
    async fn window(&mut self, at: usize) -> Result<Vec<u8>> {
        let mut window = Vec::new();
        for chunk in [at / CODE_CHUNK_BYTES, at / CODE_CHUNK_BYTES + 1] {
            let start = (at + window.len()).saturating_sub(chunk * CODE_CHUNK_BYTES);
            let missing = WINDOW_BYTES - window.len();
            if missing == 0 {
                break;
            }
            let bytes = self.chunk(chunk).await?;
            window.extend(bytes.iter().skip(start).take(missing));
        }
        Ok(window)
    }

    async fn chunk(&mut self, number: usize) -> Result<&[u8]> {
        let number = u32::try_from(number).map_err(|_| RegistryError::CodeNotFound(*self.hash))?;
        if self.position != number + 1 {
            let chunk = self.reader.code_chunk(self.hash, number).await?;
            (self.position, self.bytes) = (number + 1, chunk.unwrap_or_default());
        }
        Ok(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections() {
        let cases: [(&[u8], Section); 7] = [
            (b"", Section::Later),
            (b"\x00\x05\x01xabc", Section::Other(7)),
            (b"\x01\x80\x80\x80\x20rest", Section::Other((64 << 20) + 5)),
            (b"\x05\x03\x01\x00\x02rest", Section::Memory(2 << 16)),
            (b"\x05\x04\x01\x01\x00\x03", Section::Memory(0)),
            (b"\x05\x01\x00", Section::Memory(0)),
            (b"\x06\x01\x00", Section::Later),
        ];
        for (window, expected) in cases {
            assert_eq!(section(window).expect("well-formed"), expected, "{window:?}");
        }
        section(b"\x05\x03\x01\x00").expect_err("cut off");
    }
}
