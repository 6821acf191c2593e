//! A snapshot that several subscriptions send while it is read.

use std::mem;
use std::sync::Arc;

use prost::Message as _;
use proto::registry::v1::{Function, Module, Script, Snapshot};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::store::{self, DatabaseError};

/// The maximum number of functions in one part of a snapshot.
const MAX_PART_FUNCTIONS: usize = 500;
/// The approximate maximum size of one part of a snapshot. A single item may be larger.
const MAX_PART_BYTES: usize = 4 << 20;

/// A snapshot and its revision. It is read at the speed of the database, however fast the watchers are: its transaction
/// is short.
pub(super) struct SharedSnapshot {
    pub(super) revision: u64,
    read: watch::Receiver<Progress>,
    _reading: AbortOnDropHandle<()>,
}

/// What has been read.
#[derive(Default)]
struct Progress {
    parts: Vec<Arc<Snapshot>>,
    failure: Option<DatabaseError>,
}

impl SharedSnapshot {
    /// Begins to read.
    pub(super) async fn begin(snapshot: store::Snapshot) -> store::Result<Self> {
        let revision = snapshot.read().revision().await?;
        let (progress, read) = watch::channel(Progress::default());
        let reading = async move {
            if let Err(error) = read_all(&snapshot, &progress).await {
                progress.send_modify(|progress| progress.failure = Some(error));
            }
        };
        Ok(Self { revision, read, _reading: AbortOnDropHandle::new(tokio::spawn(reading)) })
    }

    /// Whether its end cannot be read any more.
    pub(super) fn has_failed(&self) -> bool {
        let progress = self.read.borrow();
        let is_complete = progress.parts.last().is_some_and(|part| part.complete);
        !is_complete && (progress.failure.is_some() || self.read.has_changed().is_err())
    }

    /// The part with this index. Waits until it has been read.
    pub(super) async fn part(&self, index: usize) -> store::Result<Arc<Snapshot>> {
        let mut read = self.read.clone();
        let is_known = |progress: &Progress| progress.parts.len() > index || progress.failure.is_some();
        let panicked = || DatabaseError::Failed("a snapshot could not be read".into());
        let progress = read.wait_for(is_known).await.map_err(|_| panicked())?;
        match (progress.parts.get(index), &progress.failure) {
            (Some(part), _) => Ok(Arc::clone(part)),
            (None, Some(failure)) => Err(failure.clone()),
            (None, None) => Err(panicked()),
        }
    }
}

async fn read_all(snapshot: &store::Snapshot, progress: &watch::Sender<Progress>) -> store::Result<()> {
    let reader = snapshot.read();
    let mut parts = Parts::new(|part| progress.send_modify(|progress| progress.parts.push(Arc::new(part))));
    reader.modules().await?.into_iter().for_each(|module| parts.add_module(module));
    reader.scripts().await?.into_iter().for_each(|script| parts.add_script(script));
    let mut after = String::new();
    loop {
        let functions = reader.functions_by_id(&after, MAX_PART_FUNCTIONS as u64).await?;
        let Some(last) = functions.last() else { break };
        after.clone_from(&last.id);
        functions.into_iter().for_each(|function| parts.add_function(function));
    }
    parts.complete();
    Ok(())
}

/// Puts items into parts that fit into a message. Only the last one is marked complete.
struct Parts<F: FnMut(Snapshot)> {
    part: Snapshot,
    bytes: usize,
    finished: F,
}

impl<F: FnMut(Snapshot)> Parts<F> {
    /// Hands each part to `finished`.
    fn new(finished: F) -> Self {
        Self { part: Snapshot::default(), bytes: 0, finished }
    }

    fn add_module(&mut self, module: Module) {
        self.make_room(module.encoded_len());
        self.part.modules.push(module);
    }

    fn add_script(&mut self, script: Script) {
        self.make_room(script.encoded_len());
        self.part.scripts.push(script);
    }

    fn add_function(&mut self, function: Function) {
        self.make_room(function.encoded_len());
        self.part.functions.push(function);
    }

    fn make_room(&mut self, size: usize) {
        let is_full = self.bytes > 0 && self.bytes + size > MAX_PART_BYTES;
        if is_full || self.part.functions.len() == MAX_PART_FUNCTIONS {
            (self.finished)(mem::take(&mut self.part));
            self.bytes = 0;
        }
        self.bytes += size;
    }

    fn complete(mut self) {
        self.part.complete = true;
        (self.finished)(self.part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_split_and_only_its_last_part_is_complete() {
        let cases = [(0, 1, 1), (500, 1, 1), (501, 1, 2), (1500, 1, 3), (5, 3 << 20, 5)];
        for (count, padding, expected) in cases {
            let mut finished = Vec::new();
            let mut parts = Parts::new(|part| finished.push(part));
            parts.add_module(Module::default());
            parts.add_script(Script::default());
            let function = Function { name: "a".repeat(padding), ..Function::default() };
            (0..count).for_each(|_| parts.add_function(function.clone()));
            parts.complete();
            let complete = finished.iter().filter(|part| part.complete).count();
            let sent: usize = finished.iter().map(|part| part.functions.len()).sum();
            assert_eq!((finished.len(), complete, sent), (expected, 1, count), "{count} functions");
            assert!(finished.last().is_some_and(|part| part.complete));
        }
    }
}
