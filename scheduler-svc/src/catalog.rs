//! The functions and scripts as the registry's watch tells them.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use mesh::Caller;
use mesh::deadline::Deadline;
use mesh::follow::Update;
use mesh::metrics::read_gauge;
use parking_lot::RwLock;
use prometheus::Registry;
use proto::registry::v1::change::Change as Kind;
use proto::registry::v1::{Change, Function, Script, Snapshot};
use proto::scheduler::v1::Scheduling;
use proto::scheduler::v1::scheduling::Language;
use tokio::sync::watch;

use crate::error::SchedulingError;
use crate::invocation::{PendingInvocation, Policy};
use crate::policy::app;

/// What can be invoked, at one revision of the registry.
#[derive(Debug)]
pub struct Catalog {
    contents: RwLock<Contents>,
    /// The registry's revision that the contents have; `None` before the first snapshot.
    revision: watch::Sender<Option<u64>>,
    /// The default policy.
    platform: Arc<app::Script>,
}

#[derive(Debug, Default)]
struct Contents {
    /// By module, then by name: looked up without building a key.
    functions: HashMap<String, HashMap<String, Arc<Function>>>,
    /// Where each function is now, so that a rename removes its old name.
    places: HashMap<String, (String, String)>,
    /// By name: what each says, or what is wrong with it.
    scripts: HashMap<Arc<str>, Result<Arc<app::Script>, String>>,
}

impl Default for Catalog {
    fn default() -> Self {
        let platform = Arc::new(app::Script::platform());
        Self { contents: RwLock::default(), revision: watch::Sender::new(None), platform }
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

    /// Shows in `registry` how much is in it, and how new it is.
    pub fn show(self: &Arc<Self>, registry: &Registry) {
        let catalog = Arc::clone(self);
        let help = "Functions that can be invoked.";
        read_gauge(registry, "funless_scheduler_functions", help, &[], move || {
            catalog.contents.read().places.len() as f64
        });
        let catalog = Arc::clone(self);
        let help = "The registry's revision up to which functions and scripts are known.";
        read_gauge(registry, "funless_scheduler_catalog_revision", help, &[], move || {
            catalog.revision.borrow().unwrap_or_default() as f64
        });
    }

    /// The registry's revision up to which functions and scripts are known; `None` before the first
    /// snapshot.
    pub fn revision(&self) -> Option<u64> {
        *self.revision.borrow()
    }

    /// Whether there is a snapshot, and it is at least as new as `revision`.
    pub fn has_reached(&self, revision: u64) -> bool {
        self.revision().is_some_and(|now| now >= revision)
    }

    /// Waits until there is a snapshot that is at least as new as `revision`.
    pub async fn reaches(&self, revision: u64) {
        let mut newer = self.revision.subscribe();
        // The sender lives as long as the catalog.
        let _ = newer.wait_for(|_| self.has_reached(revision)).await;
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

    /// Waits until there is no function with this id.
    pub async fn deleted(&self, id: &str) {
        let mut newer = self.revision.subscribe();
        // The sender lives as long as the catalog.
        let _ = newer.wait_for(|_| self.function_by_id(id).is_none()).await;
    }

    /// The function of this name.
    pub fn function(&self, module: &str, name: &str) -> Option<Arc<Function>> {
        self.contents.read().functions.get(module)?.get(name).cloned()
    }

    /// The function of this name, if the caller reaches it.
    pub fn reached_function(
        &self,
        caller: &Caller,
        module: &str,
        function: &str,
    ) -> Result<Arc<Function>, SchedulingError> {
        let reached = self.function(module, function).filter(|function| caller.reaches(&function.owner));
        reached.ok_or_else(|| SchedulingError::FunctionNotFound {
            module: module.to_owned(),
            function: function.to_owned(),
        })
    }

    /// The function with this id, or of this name when the id is empty, if the caller reaches it.
    pub fn reached(
        &self,
        caller: &Caller,
        id: &str,
        module: &str,
        function: &str,
    ) -> Result<Arc<Function>, SchedulingError> {
        if id.is_empty() {
            return self.reached_function(caller, module, function);
        }
        let function = self.function_by_id(id).filter(|function| caller.reaches(&function.owner));
        function.ok_or_else(|| SchedulingError::FunctionIdNotFound(id.to_owned()))
    }

    /// An invocation of a function by the policy that is asked for, else by the function's own script, else
    /// by the default policy.
    pub fn invocation_of(
        &self,
        function: Arc<Function>,
        scheduling: Option<&Scheduling>,
    ) -> Result<PendingInvocation, SchedulingError> {
        let own_script = || function.metadata.as_ref().map(|metadata| &metadata.script);
        let script = match scheduling.and_then(|scheduling| scheduling.language.as_ref()) {
            Some(Language::AppScript(script)) => Some(script),
            Some(Language::DefaultPolicy(_)) => None,
            None => own_script().filter(|script| !script.is_empty()),
        };
        let policy = script.map_or_else(|| Ok(self.default_policy()), |script| self.policy(script))?;
        Ok(PendingInvocation { function, policy })
    }

    /// The function with this id, whatever its name.
    pub fn function_by_id(&self, id: &str) -> Option<Arc<Function>> {
        let contents = self.contents.read();
        let (module, name) = contents.places.get(id)?;
        contents.functions.get(module)?.get(name).cloned()
    }

    /// The policy that the script of this name says.
    pub fn policy(&self, script: &str) -> Result<Policy, SchedulingError> {
        let contents = self.contents.read();
        match contents.scripts.get_key_value(script) {
            None => Err(SchedulingError::ScriptNotFound(script.to_owned())),
            Some((name, Ok(script))) => {
                Ok(Policy { name: Some(Arc::clone(name)), script: Arc::clone(script) })
            }
            Some((name, Err(problem))) => {
                Err(SchedulingError::ScriptUnusable { name: name.to_string(), problem: problem.clone() })
            }
        }
    }

    /// The policy of who names none.
    pub fn default_policy(&self) -> Policy {
        Policy { name: None, script: Arc::clone(&self.platform) }
    }
}

impl Contents {
    fn of(snapshot: Snapshot) -> Self {
        let mut contents = Self::default();
        snapshot.functions.into_iter().for_each(|function| contents.put(function));
        snapshot.scripts.into_iter().for_each(|script| contents.put_script(script));
        contents
    }

    fn apply(&mut self, change: Change) {
        match change.change {
            Some(Kind::FunctionPut(function)) => self.put(function),
            Some(Kind::FunctionDeleted(deleted)) => self.remove(&deleted.id),
            Some(Kind::ScriptPut(script)) => self.put_script(script),
            Some(Kind::ScriptDeleted(deleted)) => {
                self.scripts.remove(&*deleted.name);
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

    fn put_script(&mut self, Script { name, content }: Script) {
        let script = app::parse(&content).map(Arc::new).map_err(|problems| {
            let problem = problems.into_iter().next().map_or_else(String::new, |problem| problem.message);
            tracing::warn!(script = name, problem, "a stored script cannot be used");
            problem
        });
        self.scripts.insert(name.into(), script);
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
    async fn reaching_a_revision_needs_a_snapshot() {
        let catalog = Arc::new(Catalog::default());
        assert!(!catalog.has_reached(0));
        let waiting = tokio::spawn({
            let catalog = Arc::clone(&catalog);
            async move { catalog.reaches(2).await }
        });
        catalog.apply(Update::Snapshot(Snapshot::default(), 1));
        assert!(catalog.has_reached(1) && !catalog.has_reached(2));
        catalog.apply(Update::Changes(vec![put(function("1", "_", "a"))], 2));
        waiting.await.expect("no panic");
        assert!(catalog.function("_", "a").is_some());
    }
}
