//! Compiles code on threads of its own.

use std::panic::AssertUnwindSafe;

use mesh::hash::Hash;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use wasmtime::{Engine, Module};

use super::artifacts::Artifacts;
use crate::error::Error;

/// The compiler.
pub(super) struct Compiler {
    engine: Engine,
    artifacts: Artifacts,
    threads: rayon::ThreadPool,
    permits: Semaphore,
}

impl Compiler {
    /// Compiles with so many threads, and stores what it compiles in `artifacts`.
    pub(super) fn new(engine: Engine, artifacts: Artifacts, threads: usize) -> anyhow::Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("compile-{index}"))
            .build()?;
        Ok(Self { engine, artifacts, threads: pool, permits: Semaphore::new(threads + 1) })
    }

    /// Waits until there is a free thread soon. Held while code is fetched and compiled, it bounds the memory
    /// of code that waits for a thread.
    pub(super) async fn permit(&self) -> Option<SemaphorePermit<'_>> {
        // Nobody closes the semaphore.
        self.permits.acquire().await.ok()
    }

    /// Compiles `code`, whose hash is `hash`, and stores the artifact.
    pub(super) async fn compile(
        &self,
        hash: Hash,
        code: impl AsRef<[u8]> + Send + 'static,
    ) -> Result<Module, Error> {
        let (done, result) = oneshot::channel();
        let (engine, artifacts) = (self.engine.clone(), self.artifacts.clone());
        self.threads.spawn(move || {
            // A panic here would end the process, and again after each restart.
            let compiled = std::panic::catch_unwind(AssertUnwindSafe(|| {
                compile_and_store(&engine, &artifacts, &hash, code.as_ref())
            }));
            let compiled =
                compiled.unwrap_or_else(|_| Err(Error::CodeUnusable("the compiler failed on it".into())));
            let _ = done.send(compiled);
        });
        result.await.unwrap_or_else(|_| Err(Error::Internal("the compiler has stopped".into())))
    }
}

/// Compiles code and stores the artifact. An artifact that cannot be stored is not a failure.
fn compile_and_store(
    engine: &Engine,
    artifacts: &Artifacts,
    hash: &Hash,
    code: &[u8],
) -> Result<Module, Error> {
    let unusable = |error: wasmtime::Error| Error::CodeUnusable(format!("{error:#}"));
    let module = Module::from_binary(engine, code).map_err(unusable)?;
    let artifact = module.serialize().map_err(unusable)?;
    match artifacts.store(hash, &artifact) {
        // The artifact is mapped from its file: its clean pages cost no memory.
        Ok(()) => Ok(artifacts.load(hash).unwrap_or(module)),
        Err(error) => {
            tracing::warn!(%hash, %error, "cannot store a compiled artifact");
            Ok(module)
        }
    }
}
