//! Compiles code when it is its turn. A compilation that takes long leaves its turn to others: there is one further
//! slot for those.

use std::fs::File;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use mesh::hash::Hash;
use mesh::inner_span;
use tracing::Instrument as _;

use super::{Inner, Phases};
use crate::error::Error;
use crate::metrics::CodePhase;
use crate::runtime::compiler::CompileError;
use crate::runtime::queue::{Demand, FairQueue, Slot};

/// How long a compilation goes on while others wait for its slot.
const SHORT_COMPILATION: Duration = Duration::from_secs(2);

impl Inner {
    /// Returns the artifact of this code, which is compiled when it is its turn, unless nobody waits for it and the
    /// disk has no room. What comes with it is held until the artifact is stored.
    pub(super) async fn fetch_and_compile(
        &self,
        hash: Hash,
        demand: &Arc<Demand>,
        phases: &mut Phases,
    ) -> Result<Option<(File, Arc<()>)>, Error> {
        let turn = wait_for_turn(&self.turns.compile, demand, phases).await;
        let unstored = Arc::clone(&self.unstored);
        if !demand.is_awaited() && self.artifacts.is_full(Arc::strong_count(&unstored) - 1) {
            return Ok(None);
        }
        let code = self.fetch(hash, phases).await?;
        let started = Instant::now();
        let span = inner_span!("compile", funless.code.bytes = code.len());
        if let Some(ended) = self.compile_until_others_wait(turn, demand, &code).instrument(span).await {
            let artifact = self.compiled(hash, ended, started, phases).await?;
            return Ok(Some((artifact, unstored)));
        }
        tracing::debug!(%hash, "the compilation takes long: others go first");
        drop(code);
        let _turn = wait_for_turn(&self.turns.compile_long, demand, phases).await;
        let code = self.fetch(hash, phases).await?;
        let started = Instant::now();
        let span = inner_span!("compile", funless.code.bytes = code.len());
        let ended = self.compiler.compile(&code).instrument(span).await;
        let artifact = self.compiled(hash, ended, started, phases).await?;
        Ok(Some((artifact, unstored)))
    }

    async fn fetch(&self, hash: Hash, phases: &mut Phases) -> Result<BytesMut, Error> {
        let started = Instant::now();
        let code = self.source.fetch(hash).instrument(inner_span!("fetch")).await?;
        let took = started.elapsed();
        phases.fetch += took;
        self.metrics.ended_phase(CodePhase::Fetch, took);
        Ok(code)
    }

    /// Compiles `code`. If that takes long, it moves to a slot for long compilations as soon as one is free, and
    /// stops if others wait for its own: then there is no result.
    async fn compile_until_others_wait(
        &self,
        turn: Slot,
        demand: &Arc<Demand>,
        code: &[u8],
    ) -> Option<Result<File, CompileError>> {
        let mut compiling = pin!(self.compiler.compile(code));
        if let Ok(ended) = tokio::time::timeout(SHORT_COMPILATION, &mut compiling).await {
            return Some(ended);
        }
        let _long_turn = tokio::select! {
            biased;
            ended = &mut compiling => return Some(ended),
            turn = self.turns.compile_long.acquire(demand) => turn,
            () = self.turns.compile.contended() => return None,
        };
        drop(turn);
        Some(compiling.await)
    }

    /// Counts a compilation that has ended. If the code is to blame for its failure, that is remembered.
    async fn compiled(
        &self,
        hash: Hash,
        ended: Result<File, CompileError>,
        started: Instant,
        phases: &mut Phases,
    ) -> Result<File, Error> {
        let error = match ended {
            Ok(artifact) => {
                phases.compile = started.elapsed();
                self.metrics.ended_phase(CodePhase::Compile, phases.compile);
                return Ok(artifact);
            }
            Err(error) => error,
        };
        self.metrics.failed_to_compile(error.label());
        if let CompileError::Platform(reason) = error {
            tracing::error!(%hash, reason, "the compiler does not work");
            return Err(Error::Internal(reason));
        }
        let reason = error.to_string();
        match error.is_of_code() {
            true => Err(self.refuse(hash, reason).await),
            false => Err(Error::CodeUnusable(reason)),
        }
    }
}

/// Waits for a slot, and adds the time to `phases`.
async fn wait_for_turn(queue: &FairQueue, demand: &Arc<Demand>, phases: &mut Phases) -> Slot {
    let queued = Instant::now();
    let slot = queue.acquire(demand).instrument(inner_span!("queue", funless.waits_for = "compiler")).await;
    phases.queue += queued.elapsed();
    slot
}
