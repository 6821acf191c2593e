//! Prepares code before it is first called.
//!
//! Follows the registry: code that a function uses is fetched and compiled in the background, code
//! that no function uses any more is forgotten. Schedulers are told what is prepared.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use mesh::backoff::Backoff;
use mesh::follow::Update;
use mesh::hash::Hash;
use parking_lot::Mutex;
use proto::registry::v1::change::Change;
use proto::registry::v1::{self, Function};
use tokio::sync::{Semaphore, watch};

use crate::error::Error;
use crate::runtime::CodeCache;

/// How far the code of a function is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CodeState {
    /// Not prepared yet.
    Pending,
    Ready,
    /// Cannot be prepared, with the reason.
    Failed(String),
}

/// All code that functions use. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Preparation(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    uses: Mutex<Uses>,
    /// Counts changes of `uses`.
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Uses {
    /// Which code each function uses, by the function's id.
    by_function: HashMap<String, Hash>,
    code: HashMap<Hash, CodeState>,
    /// Code that was dropped and is not yet forgotten.
    dropped: Vec<Hash>,
    /// A snapshot has come, so that what is on disk and is not used can go.
    sweep: bool,
}

impl Uses {
    fn take(&mut self, update: Update) {
        match update {
            Update::Snapshot(snapshot, _) => {
                self.by_function = snapshot.functions.iter().filter_map(use_of).collect();
                self.sweep = true;
            }
            Update::Changes(changes, _) => {
                for change in changes {
                    self.take_change(change);
                }
            }
        }
        let used: HashSet<Hash> = self.by_function.values().copied().collect();
        let dropped = &mut self.dropped;
        self.code.retain(|hash, _| {
            let keep = used.contains(hash);
            if !keep {
                dropped.push(*hash);
            }
            keep
        });
        for hash in used {
            self.code.entry(hash).or_insert(CodeState::Pending);
        }
    }

    fn take_change(&mut self, change: v1::Change) {
        match change.change {
            Some(Change::FunctionPut(function)) => self.by_function.extend(use_of(&function)),
            Some(Change::FunctionDeleted(deleted)) => {
                self.by_function.remove(&deleted.id);
            }
            _ => {}
        }
    }
}

fn use_of(function: &Function) -> Option<(String, Hash)> {
    let hash = function.code.as_ref().and_then(|code| Hash::try_from(code.hash.as_ref()).ok());
    if hash.is_none() {
        tracing::warn!(function.module, function.name, "the registry sent a function without a hash");
    }
    Some((function.id.clone(), hash?))
}

impl Preparation {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner { uses: Mutex::default(), changed: watch::Sender::new(0) }))
    }

    /// Takes what the registry says.
    pub(crate) fn take(&self, update: Update) {
        self.0.uses.lock().take(update);
        self.notify();
    }

    /// How far each code is.
    pub(crate) fn states(&self) -> HashMap<Hash, CodeState> {
        self.0.uses.lock().code.clone()
    }

    /// Tells when `states` has changed.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    fn notify(&self) {
        self.0.changed.send_modify(|count| *count += 1);
    }

    /// Prepares what is used and forgets what is not, for ever; so many at once.
    pub(crate) async fn run(self, modules: CodeCache, at_once: usize) {
        let mut changed = self.watch();
        let places = Semaphore::new(at_once);
        let mut preparing = FuturesUnordered::new();
        let mut started: HashSet<Hash> = HashSet::new();
        loop {
            self.forget_unused(&modules).await;
            for hash in self.pending() {
                if started.insert(hash) {
                    preparing.push(self.prepare(&modules, hash, &places));
                }
            }
            tokio::select! {
                Some(hash) = preparing.next() => {
                    started.remove(&hash);
                }
                _ = changed.changed() => {}
            }
        }
    }

    fn pending(&self) -> Vec<Hash> {
        let uses = self.0.uses.lock();
        let pending = uses.code.iter().filter(|(_, state)| **state == CodeState::Pending);
        pending.map(|(hash, _)| *hash).collect()
    }

    async fn forget_unused(&self, modules: &CodeCache) {
        let (dropped, sweep) = {
            let mut uses = self.0.uses.lock();
            (std::mem::take(&mut uses.dropped), std::mem::take(&mut uses.sweep))
        };
        for hash in dropped {
            if !self.is_used(&hash) {
                modules.remove(hash).await;
            }
        }
        if sweep {
            let this = self.clone();
            modules.retain_artifacts(move |hash| this.is_used(hash)).await;
        }
    }

    fn is_used(&self, hash: &Hash) -> bool {
        self.0.uses.lock().code.contains_key(hash)
    }

    /// Prepares one code, as often as it takes, unless it is dropped in between. It holds one of the
    /// `places` while it tries, and none while it waits: what cannot be fetched keeps nothing else.
    async fn prepare(&self, modules: &CodeCache, hash: Hash, places: &Semaphore) -> Hash {
        let mut backoff = Backoff::reconnect();
        while self.is_used(&hash) {
            let place = places.acquire().await;
            let prepared = modules.get(hash).await;
            drop(place);
            let state = match prepared {
                Ok(_) => CodeState::Ready,
                Err(Error::CodeUnusable(reason)) => {
                    tracing::warn!(%hash, reason, "a function's code cannot be used");
                    CodeState::Failed(reason)
                }
                Err(error) => {
                    let wait = backoff.next_wait();
                    tracing::debug!(%hash, %error, ?wait, "code cannot be prepared yet");
                    tokio::time::sleep(wait).await;
                    continue;
                }
            };
            if let Some(known) = self.0.uses.lock().code.get_mut(&hash) {
                *known = state;
            }
            self.notify();
            break;
        }
        if !self.is_used(&hash) {
            modules.remove(hash).await;
        }
        hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::registry::v1::{Code, FunctionDeleted, Snapshot};

    fn function(id: &str, code: &[u8]) -> Function {
        let code = Code { hash: Hash::of(code).to_bytes(), ..Code::default() };
        Function { id: id.into(), code: Some(code), ..Function::default() }
    }

    fn put(id: &str, code: &[u8]) -> v1::Change {
        v1::Change { change: Some(Change::FunctionPut(function(id, code))) }
    }

    fn deleted(id: &str) -> v1::Change {
        let deleted = FunctionDeleted { id: id.into(), ..FunctionDeleted::default() };
        v1::Change { change: Some(Change::FunctionDeleted(deleted)) }
    }

    #[test]
    fn code_is_used_while_any_function_uses_it() {
        let mut uses = Uses::default();
        let functions = vec![function("a", b"1"), function("b", b"1"), function("c", b"2")];
        uses.take(Update::Snapshot(Snapshot { functions, complete: true, ..Snapshot::default() }, 1));
        assert_eq!(uses.code.len(), 2);
        uses.take(Update::Changes(vec![deleted("a")], 2));
        assert!(uses.dropped.is_empty(), "b uses it still");
        uses.take(Update::Changes(vec![put("b", b"3"), put("d", b"4")], 3));
        assert_eq!(uses.dropped, [Hash::of(b"1")]);
        assert_eq!(uses.code.len(), 3);
        uses.take(Update::Snapshot(Snapshot { complete: true, ..Snapshot::default() }, 4));
        assert!(uses.code.is_empty());
        assert_eq!(uses.dropped.len(), 4);
    }
}
