//! WASI preview 1 with standard streams only: no files, no network, no environment, no arguments.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p2::pipe::MemoryInputPipe;
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use super::abi::HostCallError;
use super::console::Console;
use crate::budget::{HeldBuffer, HeldBytes, MemoryBudget};

/// Bytes that a stream takes at once.
const STREAM_CHUNK: usize = 64 << 10;
/// Random bytes for one call, the most.
const MAX_RANDOM: u64 = 64 << 10;

/// WASI for a command: arguments on stdin, result on stdout, log on stderr.
pub(super) fn command(args: Bytes, output: Output, console: Console) -> WasiP1Ctx {
    let on_write = move |bytes: &[u8]| output.append(bytes);
    let mut wasi = WasiCtxBuilder::new();
    wasi.stdin(MemoryInputPipe::new(args)).stdout(Stream(Arc::new(on_write))).stderr(log_to(console));
    finish(wasi)
}

/// WASI for a FunLess function: what it prints is its log.
pub(super) fn library(console: Console) -> WasiP1Ctx {
    let mut wasi = WasiCtxBuilder::new();
    wasi.stdout(log_to(console.clone())).stderr(log_to(console));
    finish(wasi)
}

fn finish(mut wasi: WasiCtxBuilder) -> WasiP1Ctx {
    wasi.max_random_size(MAX_RANDOM).allow_tcp(false).allow_udp(false).build_p1()
}

fn log_to(console: Console) -> Stream {
    Stream(Arc::new(move |bytes: &[u8]| Ok(console.write(bytes)?)))
}

/// What a command has written to stdout, up to its limit.
#[derive(Debug, Clone)]
pub(super) struct Output {
    written: Arc<Mutex<HeldBuffer>>,
    limit: u64,
}

impl Output {
    /// Nothing, of at most `limit` bytes, which are taken from `budget`.
    pub(super) fn new(budget: &MemoryBudget, limit: u64) -> Self {
        Self { written: Arc::new(Mutex::new(HeldBuffer::new(budget))), limit }
    }

    pub(super) fn take(&self) -> HeldBytes {
        self.written.lock().take()
    }

    fn append(&self, bytes: &[u8]) -> wasmtime::Result<()> {
        let mut written = self.written.lock();
        if (written.len() + bytes.len()) as u64 > self.limit {
            return Err(HostCallError::OutputLimit.into());
        }
        Ok(written.extend(bytes)?)
    }
}

/// An unbuffered output stream.
#[derive(Clone)]
struct Stream(Arc<OnWrite>);

type OnWrite = dyn Fn(&[u8]) -> wasmtime::Result<()> + Send + Sync;

impl IsTerminal for Stream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stream {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

impl OutputStream for Stream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        (self.0)(&bytes).map_err(StreamError::Trap)
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(STREAM_CHUNK)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {}
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Poll::Ready((self.0)(bytes).map(|()| bytes.len()).map_err(std::io::Error::other))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
