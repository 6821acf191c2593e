//! Prepares code before it is first called.
//!
//! Follows the registry: code that a function uses is fetched and compiled, and its artifact stored on disk; code that
//! no function uses any more is removed, and its compilation stopped. What a change has brought goes first, since
//! whoever creates a function waits for its code; nobody waits for that of a snapshot. Schedulers get reports of what
//! is prepared.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use mesh::backoff::Backoff;
use mesh::follow::Update;
use mesh::hash::Hash;
use parking_lot::Mutex;
use proto::registry::v1::change::Change;
use proto::registry::v1::{self, Function};
use tokio::sync::watch;

use crate::error::Error;
use crate::runtime::{CodeCache, Demand};

/// Waits between attempts while the worker itself does not work, such as its compiler.
const FIRST_WAIT_AFTER_FAULT: Duration = Duration::from_secs(1);
const LONGEST_WAIT_AFTER_FAULT: Duration = Duration::from_secs(60);

/// The state of some code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CodeState {
    /// Not prepared yet.
    Pending,
    /// Its artifact is on disk.
    Ready,
    /// The disk has no room for its artifact: it is compiled when it is called.
    Deferred,
    /// It cannot be prepared, with the reason.
    Failed(String),
}

impl CodeState {
    /// Whether schedulers know of it.
    pub(crate) fn is_reported(&self) -> bool {
        match self {
            Self::Ready | Self::Failed(_) => true,
            Self::Pending | Self::Deferred => false,
        }
    }
}

/// All code that functions use. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Preparation(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    index: Mutex<CodeIndex>,
    /// Counts changes of `index`.
    changed: watch::Sender<u64>,
}

/// All code that functions use. Changes cost the same with many functions as with few.
#[derive(Debug, Default)]
struct CodeIndex {
    /// The code of each function, by the function's id.
    by_function: HashMap<String, Hash>,
    code: HashMap<Hash, UsedCode>,
    /// Pending code that may be on disk already.
    unchecked: Vec<Hash>,
    /// Code to prepare.
    to_prepare: Vec<Hash>,
    /// Where each scheduler's changes are collected.
    subscribers: Vec<Weak<Mutex<HashSet<Hash>>>>,
    /// Prepared code that somebody waits for. It may have been evicted since.
    awaited_again: Vec<Hash>,
    /// Code that no function uses any more and that has to be removed.
    unused: Vec<Hash>,
    /// Whether there was a snapshot since the last sweep: artifacts of unused code can be removed.
    sweep: bool,
}

/// Code that functions use.
#[derive(Debug)]
struct UsedCode {
    state: CodeState,
    demand: Arc<Demand>,
    /// How many functions use it.
    functions: usize,
}

/// Code whose state has changed. The changes since the last look are collected.
#[derive(Debug)]
pub(crate) struct CodeChanges(Arc<Mutex<HashSet<Hash>>>);

impl CodeIndex {
    fn apply(&mut self, update: Update) {
        let released = match update {
            Update::Snapshot(snapshot, _) => {
                self.by_function.clear();
                self.code.values_mut().for_each(|code| code.functions = 0);
                for function in &snapshot.functions {
                    self.put(function, Demand::background);
                }
                self.sweep = true;
                self.code.keys().copied().collect()
            }
            Update::Changes(changes, _) => {
                let released = changes.into_iter().filter_map(|change| self.apply_change(change));
                released.collect::<Vec<_>>()
            }
        };
        for hash in released {
            if self.code.get(&hash).is_some_and(|code| code.functions == 0) {
                self.code.remove(&hash);
                self.unused.push(hash);
                self.changed(hash);
            }
        }
    }

    /// Returns the code that a function does not use any more.
    fn apply_change(&mut self, change: v1::Change) -> Option<Hash> {
        match change.change {
            Some(Change::FunctionPut(function)) => self.put(&function, Demand::awaited),
            Some(Change::FunctionDeleted(deleted)) => {
                let former = self.by_function.remove(&deleted.id);
                self.release(former)
            }
            _ => None,
        }
    }

    fn release(&mut self, hash: Option<Hash>) -> Option<Hash> {
        if let Some(code) = self.code.get_mut(&hash?) {
            code.functions = code.functions.saturating_sub(1);
        }
        hash
    }

    /// Returns the function's former code.
    fn put(&mut self, function: &Function, demand: impl FnOnce(&str) -> Arc<Demand>) -> Option<Hash> {
        let (id, hash) = code_of(function)?;
        let former = self.by_function.insert(id, hash);
        let demand = demand(subject_of(function));
        let awaited = demand.is_awaited();
        let unchecked = &mut self.unchecked;
        let code = self.code.entry(hash).or_insert_with(|| {
            unchecked.push(hash);
            UsedCode { state: CodeState::Pending, demand, functions: 0 }
        });
        code.functions += 1;
        if awaited {
            code.demand.await_it();
            if matches!(code.state, CodeState::Ready | CodeState::Deferred) {
                self.awaited_again.push(hash);
            }
        }
        self.release(former)
    }

    /// Tells all schedulers of a change.
    fn changed(&mut self, hash: Hash) {
        self.subscribers.retain(|subscriber| {
            let subscriber = subscriber.upgrade();
            subscriber.is_some_and(|changes| {
                changes.lock().insert(hash);
                true
            })
        });
    }

    /// Sets the state of code that is still used.
    fn set(&mut self, hash: Hash, state: CodeState) {
        if let Some(code) = self.code.get_mut(&hash) {
            code.state = state;
            self.changed(hash);
        }
    }

    /// The code to prepare, with who wants it.
    fn take_to_prepare(&mut self) -> Vec<(Hash, Arc<Demand>)> {
        let hashes = std::mem::take(&mut self.to_prepare);
        let pending = hashes.into_iter().filter_map(|hash| {
            let code = self.code.get(&hash).filter(|code| code.state == CodeState::Pending)?;
            Some((hash, Arc::clone(&code.demand)))
        });
        pending.collect()
    }

    /// Updates the states of the code in `changed`, which may have been prepared or evicted, and of new code. Code that
    /// somebody waits for is pending again. Returns whether a state has changed.
    fn update(&mut self, mut changed: HashSet<Hash>, is_prepared: impl Fn(&Hash) -> bool) -> bool {
        let awaited: HashSet<Hash> = std::mem::take(&mut self.awaited_again).into_iter().collect();
        changed.extend(std::mem::take(&mut self.unchecked));
        changed.extend(&awaited);
        let mut has_changed = false;
        for hash in changed {
            let Some(code) = self.code.get(&hash) else { continue };
            let state = match (&code.state, is_prepared(&hash)) {
                (CodeState::Pending | CodeState::Deferred, true) => CodeState::Ready,
                (CodeState::Ready | CodeState::Deferred, false) if awaited.contains(&hash) => {
                    CodeState::Pending
                }
                (CodeState::Ready, false) => CodeState::Deferred,
                (CodeState::Pending, false) => {
                    self.to_prepare.push(hash);
                    continue;
                }
                _ => continue,
            };
            if state == CodeState::Pending {
                self.to_prepare.push(hash);
            }
            self.set(hash, state);
            has_changed = true;
        }
        has_changed
    }
}

/// Whose code it is, for taking turns.
fn subject_of(function: &Function) -> &str {
    let names = [&function.creator, &function.owner, &function.module];
    names.into_iter().find(|name| !name.is_empty()).map_or("", String::as_str)
}

fn code_of(function: &Function) -> Option<(String, Hash)> {
    let hash = function.code.as_ref().and_then(|code| Hash::try_from(code.hash.as_ref()).ok());
    if hash.is_none() {
        tracing::warn!(function.module, function.name, "the registry sent a function without a hash");
    }
    Some((function.id.clone(), hash?))
}

impl Preparation {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner { index: Mutex::default(), changed: watch::Sender::new(0) }))
    }

    /// Applies an update of the registry.
    pub(crate) fn apply(&self, update: Update) {
        self.0.index.lock().apply(update);
        self.notify();
    }

    /// The changes from now on. At first, all code has changed.
    pub(crate) fn changes(&self) -> CodeChanges {
        let mut index = self.0.index.lock();
        let changes = Arc::new(Mutex::new(index.code.keys().copied().collect()));
        index.subscribers.push(Arc::downgrade(&changes));
        CodeChanges(changes)
    }

    /// The code that has changed since the last call, with its state; `None` if it is not used any more.
    pub(crate) fn take(&self, changes: &CodeChanges) -> Vec<(Hash, Option<CodeState>)> {
        let index = self.0.index.lock();
        let hashes = std::mem::take(&mut *changes.0.lock());
        hashes.into_iter().map(|hash| (hash, index.code.get(&hash).map(|code| code.state.clone()))).collect()
    }

    /// Changes when the state of some code changes.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    fn notify(&self) {
        self.0.changed.send_modify(|count| *count += 1);
    }

    /// Prepares code that is used, and removes code that is not. Never ends.
    pub(crate) async fn run(self, cache: CodeCache) {
        let mut changed = self.watch();
        let mut preparing = FuturesUnordered::new();
        let mut started: HashSet<Hash> = HashSet::new();
        loop {
            self.remove_unused(&cache).await;
            self.update(&cache);
            let to_prepare = self.0.index.lock().take_to_prepare();
            for (hash, demand) in to_prepare {
                if started.insert(hash) {
                    preparing.push(self.prepare(&cache, hash, demand));
                }
            }
            tokio::select! {
                Some(hash) = preparing.next() => {
                    started.remove(&hash);
                    // A new function may use it since it was given up.
                    self.0.index.lock().to_prepare.push(hash);
                }
                _ = changed.changed() => {}
                () = cache.changed() => {}
            }
        }
    }

    /// Updates the states of code that has been prepared or evicted. What is on disk when the worker starts is ready.
    fn update(&self, cache: &CodeCache) {
        let changed = cache.take_changed();
        if self.0.index.lock().update(changed, |hash| cache.is_prepared(hash)) {
            self.notify();
        }
    }

    async fn remove_unused(&self, cache: &CodeCache) {
        let (unused, sweep) = {
            let mut index = self.0.index.lock();
            (std::mem::take(&mut index.unused), std::mem::take(&mut index.sweep))
        };
        for hash in unused {
            if !self.is_used(&hash) {
                cache.remove(hash).await;
            }
        }
        if sweep {
            let this = self.clone();
            cache.retain_artifacts(move |hash| this.is_used(hash)).await;
        }
    }

    fn is_used(&self, hash: &Hash) -> bool {
        self.0.index.lock().code.contains_key(hash)
    }

    /// Prepares some code, with retries until it is no longer used. While it waits, it holds up no other code.
    async fn prepare(&self, cache: &CodeCache, hash: Hash, demand: Arc<Demand>) -> Hash {
        let mut backoff = Backoff::reconnect();
        let mut after_fault = Backoff::new(FIRST_WAIT_AFTER_FAULT, LONGEST_WAIT_AFTER_FAULT);
        while self.is_used(&hash) {
            let state = match cache.prepare(hash, &demand).await {
                Ok(true) => CodeState::Ready,
                Ok(false) => CodeState::Deferred,
                Err(Error::CodeUnusable(reason)) => {
                    tracing::warn!(%hash, reason, "a function's code cannot be used");
                    CodeState::Failed(reason)
                }
                Err(error) => {
                    let is_fault = matches!(error, Error::Internal(_));
                    let wait = if is_fault { after_fault.next_wait() } else { backoff.next_wait() };
                    tracing::debug!(%hash, %error, ?wait, "cannot prepare code yet");
                    tokio::time::sleep(wait).await;
                    continue;
                }
            };
            // Somebody has begun to wait for it.
            if state == CodeState::Deferred && demand.is_awaited() && self.is_used(&hash) {
                continue;
            }
            self.0.index.lock().set(hash, state);
            self.notify();
            break;
        }
        if !self.is_used(&hash) {
            cache.remove(hash).await;
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
    fn new_functions_go_before_those_of_a_snapshot() {
        let mut index = CodeIndex::default();
        let functions = vec![function("a", b"1"), function("b", b"2")];
        index.apply(Update::Snapshot(Snapshot { functions, complete: true, ..Snapshot::default() }, 1));
        index.apply(Update::Changes(vec![put("c", b"2"), put("d", b"3")], 2));
        for (code, awaited) in [(b"1", false), (b"2", true), (b"3", true)] {
            assert_eq!(index.code[&Hash::of(code)].demand.is_awaited(), awaited, "{code:?}");
        }
    }

    #[test]
    fn code_belongs_to_who_has_created_the_function() {
        let function = |creator: &str, owner: &str| Function {
            creator: creator.into(),
            owner: owner.into(),
            module: "m".into(),
            ..Function::default()
        };
        for (creator, owner, expected) in [("ann", "bob", "ann"), ("", "bob", "bob"), ("", "", "m")] {
            assert_eq!(subject_of(&function(creator, owner)), expected);
        }
    }

    #[test]
    fn states_follow_the_disk() {
        let mut index = CodeIndex::default();
        let functions = vec![function("a", b"1"), function("b", b"2")];
        index.apply(Update::Snapshot(Snapshot { functions, complete: true, ..Snapshot::default() }, 1));
        let hash = Hash::of(b"1");
        for (before, has_changed, is_prepared, function, expected) in [
            (CodeState::Pending, false, true, "", CodeState::Ready),
            (CodeState::Pending, true, false, "", CodeState::Pending),
            (CodeState::Ready, false, false, "", CodeState::Ready),
            (CodeState::Ready, true, true, "", CodeState::Ready),
            (CodeState::Ready, true, false, "", CodeState::Deferred),
            (CodeState::Ready, true, false, "a", CodeState::Pending),
            (CodeState::Ready, false, false, "c", CodeState::Pending),
            (CodeState::Ready, false, true, "c", CodeState::Ready),
            (CodeState::Deferred, true, true, "", CodeState::Ready),
            (CodeState::Deferred, true, false, "", CodeState::Deferred),
            (CodeState::Deferred, false, false, "c", CodeState::Pending),
            (CodeState::Failed("broken".into()), true, false, "c", CodeState::Failed("broken".into())),
        ] {
            let case = format!("{before:?}, {has_changed}, {is_prepared}, {function:?}");
            index.code.get_mut(&hash).expect("used").state = before.clone();
            if !function.is_empty() {
                index.apply(Update::Changes(vec![put(function, b"1")], 2));
            }
            let changed = HashSet::from_iter(has_changed.then_some(hash));
            let updated = index.update(changed, |code| *code == hash && is_prepared);
            assert_eq!(index.code[&hash].state, expected, "{case}");
            assert_eq!(updated, before != expected, "{case}");
        }
        assert_eq!(index.code[&Hash::of(b"2")].state, CodeState::Pending);
    }

    #[test]
    fn a_change_among_many_functions_concerns_only_its_code() {
        let preparation = Preparation::new();
        let functions = (0..1000_u32).map(|n| function(&n.to_string(), &n.to_le_bytes())).collect();
        preparation.apply(Update::Snapshot(Snapshot { functions, ..Snapshot::default() }, 1));
        let changes = preparation.changes();
        assert_eq!(preparation.take(&changes).len(), 1000, "at first, all code is new");
        let looked_at = || {
            let count = std::cell::Cell::new(0);
            preparation.0.index.lock().update(HashSet::new(), |_| {
                count.set(count.get() + 1);
                false
            });
            let to_prepare = preparation.0.index.lock().take_to_prepare();
            (count.get(), to_prepare.len(), preparation.take(&changes).len())
        };
        assert_eq!(looked_at(), (1000, 1000, 0), "nothing is prepared yet");
        assert_eq!(looked_at(), (0, 0, 0));
        preparation.apply(Update::Changes(vec![put("new", b"new")], 2));
        assert_eq!(looked_at(), (1, 1, 0));
        preparation.0.index.lock().set(Hash::of(b"new"), CodeState::Ready);
        assert_eq!(preparation.take(&changes), [(Hash::of(b"new"), Some(CodeState::Ready))]);
        preparation.apply(Update::Changes(vec![deleted("new")], 3));
        assert_eq!(preparation.take(&changes), [(Hash::of(b"new"), None)]);
        assert_eq!(looked_at(), (0, 0, 0));
    }

    #[test]
    fn code_is_used_while_any_function_uses_it() {
        let mut index = CodeIndex::default();
        let functions = vec![function("a", b"1"), function("b", b"1"), function("c", b"2")];
        index.apply(Update::Snapshot(Snapshot { functions, complete: true, ..Snapshot::default() }, 1));
        assert_eq!(index.code.len(), 2);
        index.apply(Update::Changes(vec![deleted("a"), put("b", b"1")], 2));
        assert!(index.unused.is_empty(), "b still uses it");
        index.apply(Update::Changes(vec![put("b", b"3"), put("d", b"4")], 3));
        assert_eq!(index.unused, [Hash::of(b"1")]);
        assert_eq!(index.code.len(), 3);
        index.apply(Update::Snapshot(Snapshot { complete: true, ..Snapshot::default() }, 4));
        assert!(index.code.is_empty());
        assert_eq!(index.unused.len(), 4);
    }
}
