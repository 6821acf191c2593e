//! The functions and scripts as the registry's watch tells them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use mesh::deadline::Deadline;
use mesh::follow::Update;
use parking_lot::RwLock;
use proto::registry::v1::change::Change as Kind;
use proto::registry::v1::{Change, Function, Snapshot};
use tokio::sync::watch;

use crate::error::SchedulingError;

/// What can be invoked, at one revision of the registry.
#[derive(Debug)]
pub struct Catalog {
    contents: RwLock<Contents>,
    /// The registry's revision that the contents have; `None` before the first snapshot.
    revision: watch::Sender<Option<u64>>,
}

#[derive(Debug, Default)]
struct Contents {
    /// By module, then by name: looked up without building a key.
    functions: HashMap<String, HashMap<String, Arc<Function>>>,
    /// Where each function is now, so that a rename removes its old name.
    places: HashMap<String, (String, String)>,
    scripts: HashSet<String>,
}

impl Default for Catalog {
    fn default() -> Self {
        Self { contents: RwLock::default(), revision: watch::Sender::new(None) }
    }
}

impl Catalog {
    /// Takes what the watch tells.
    pub fn apply(&self, update: Update) {
        let mut contents = self.contents.write();
        let revision = match update {
            Update::Snapshot(snapshot, revision) => {
                *contents = Contents::of(snapshot);
                revision
            }
            Update::Changes(changes, revision) => {
                changes.into_iter().for_each(|change| contents.apply(change));
                revision
            }
        };
        drop(contents);
        self.revision.send_replace(Some(revision));
    }

    /// Waits until the catalog has a snapshot and is at least as new as `revision`.
    pub async fn catch_up(&self, revision: u64, deadline: Deadline) -> Result<(), SchedulingError> {
        let is_enough = |now: &Option<u64>| now.is_some_and(|now| now >= revision);
        if is_enough(&self.revision.borrow()) {
            return Ok(());
        }
        let mut newer = self.revision.subscribe();
        match tokio::time::timeout_at(deadline.instant(), newer.wait_for(is_enough)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(SchedulingError::CatalogBehind { wanted: revision, have: *self.revision.borrow() }),
        }
    }

    /// Waits until the catalog has changed since it had `function`, and has no longer that very
    /// version of it.
    pub async fn moved_on(&self, function: &Arc<Function>, deadline: Deadline) {
        let mut newer = self.revision.subscribe();
        let is_gone = |_: &Option<u64>| {
            let now = self.function_by_id(&function.id);
            now.is_none_or(|now| now.code != function.code)
        };
        let _ = tokio::time::timeout_at(deadline.instant(), newer.wait_for(is_gone)).await;
    }

    /// Waits until no function uses `code`.
    pub async fn unused(&self, code: &Bytes) {
        let mut newer = self.revision.subscribe();
        let is_unused = |_: &Option<u64>| {
            let contents = self.contents.read();
            let mut functions = contents.functions.values().flat_map(HashMap::values);
            !functions.any(|function| function.code.as_ref().is_some_and(|used| used.hash == *code))
        };
        // The sender lives as long as the catalog.
        let _ = newer.wait_for(is_unused).await;
    }

    /// The function of this name.
    pub fn function(&self, module: &str, name: &str) -> Option<Arc<Function>> {
        self.contents.read().functions.get(module)?.get(name).cloned()
    }

    /// The function with this id, whatever its name.
    pub fn function_by_id(&self, id: &str) -> Option<Arc<Function>> {
        let contents = self.contents.read();
        let (module, name) = contents.places.get(id)?;
        contents.functions.get(module)?.get(name).cloned()
    }

    /// Whether there is a script of this name.
    pub fn has_script(&self, name: &str) -> bool {
        self.contents.read().scripts.contains(name)
    }
}

impl Contents {
    fn of(snapshot: Snapshot) -> Self {
        let mut contents = Self::default();
        snapshot.functions.into_iter().for_each(|function| contents.put(function));
        contents.scripts = snapshot.scripts.into_iter().map(|script| script.name).collect();
        contents
    }

    fn apply(&mut self, change: Change) {
        match change.change {
            Some(Kind::FunctionPut(function)) => self.put(function),
            Some(Kind::FunctionDeleted(deleted)) => self.remove(&deleted.id),
            Some(Kind::ScriptPut(script)) => {
                self.scripts.insert(script.name);
            }
            Some(Kind::ScriptDeleted(deleted)) => {
                self.scripts.remove(&deleted.name);
            }
            // A module's functions are put and deleted one by one.
            Some(Kind::ModulePut(_) | Kind::ModuleDeleted(_)) | None => {}
        }
    }

    fn put(&mut self, function: Function) {
        self.remove(&function.id);
        let place = (function.module.clone(), function.name.clone());
        self.places.insert(function.id.clone(), place);
        let module = self.functions.entry(function.module.clone()).or_default();
        module.insert(function.name.clone(), Arc::new(function));
    }

    fn remove(&mut self, id: &str) {
        let Some((module, name)) = self.places.remove(id) else { return };
        let Some(functions) = self.functions.get_mut(&module) else { return };
        // Two renames of one revision may have put another function in this place.
        if functions.get(&name).is_some_and(|function| function.id == id) {
            functions.remove(&name);
        }
        if functions.is_empty() {
            self.functions.remove(&module);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proto::registry::v1::FunctionDeleted;

    use super::*;

    fn function(id: &str, module: &str, name: &str) -> Function {
        Function { id: id.into(), module: module.into(), name: name.into(), ..Function::default() }
    }

    fn put(function: Function) -> Change {
        Change { change: Some(Kind::FunctionPut(function)) }
    }

    fn deleted(id: &str) -> Change {
        Change {
            change: Some(Kind::FunctionDeleted(FunctionDeleted {
                id: id.into(),
                ..FunctionDeleted::default()
            })),
        }
    }

    fn id_at(catalog: &Catalog, module: &str, name: &str) -> Option<String> {
        catalog.function(module, name).map(|function| function.id.clone())
    }

    #[test]
    fn a_rename_leaves_no_old_name() {
        let catalog = Catalog::default();
        let functions = vec![function("1", "_", "a"), function("2", "_", "b")];
        catalog.apply(Update::Snapshot(Snapshot { functions, ..Snapshot::default() }, 5));
        // `a` and `b` swap their names within one revision.
        catalog.apply(Update::Changes(vec![put(function("1", "_", "b")), put(function("2", "_", "a"))], 6));
        assert_eq!(id_at(&catalog, "_", "a").as_deref(), Some("2"));
        assert_eq!(id_at(&catalog, "_", "b").as_deref(), Some("1"));
        catalog.apply(Update::Changes(vec![put(function("1", "m", "b"))], 7));
        assert_eq!(id_at(&catalog, "_", "b"), None);
        assert_eq!(id_at(&catalog, "m", "b").as_deref(), Some("1"));
        catalog.apply(Update::Changes(vec![deleted("1")], 8));
        assert_eq!(id_at(&catalog, "m", "b"), None);
    }

    #[tokio::test]
    async fn catching_up_waits_for_the_revision() {
        let catalog = Arc::new(Catalog::default());
        let soon = Deadline::after(Duration::from_millis(1));
        let behind = catalog.catch_up(0, soon).await;
        assert_eq!(behind, Err(SchedulingError::CatalogBehind { wanted: 0, have: None }));

        let waiting = tokio::spawn({
            let catalog = Arc::clone(&catalog);
            async move { catalog.catch_up(2, Deadline::after(Duration::from_secs(10))).await }
        });
        catalog.apply(Update::Snapshot(Snapshot::default(), 1));
        catalog.apply(Update::Changes(vec![put(function("1", "_", "a"))], 2));
        assert_eq!(waiting.await.expect("no panic"), Ok(()));
        assert!(catalog.function("_", "a").is_some());
    }
}
