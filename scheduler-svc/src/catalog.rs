//! The functions and scripts, kept up to date by the registry's watch.

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

/// The functions and scripts at one revision of the registry.
#[derive(Debug)]
pub struct Catalog {
    contents: RwLock<Contents>,
    /// The revision of the contents; `None` before the first snapshot.
    revision: watch::Sender<Option<u64>>,
    /// The default policy.
    platform: Arc<app::Script>,
}

#[derive(Debug, Default)]
struct Contents {
    /// By module, then by name: a lookup builds no key.
    functions: HashMap<String, HashMap<String, Arc<Function>>>,
    /// The module and name of each function by its id, so that a rename removes the old name.
    names: HashMap<String, (String, String)>,
    /// By name; `Err` says what is wrong with a script.
    scripts: HashMap<Arc<str>, Result<Arc<app::Script>, String>>,
}

impl Default for Catalog {
    fn default() -> Self {
        let platform = Arc::new(app::Script::platform());
        Self { contents: RwLock::default(), revision: watch::Sender::new(None), platform }
    }
}

impl Catalog {
    /// Applies an update of the watch.
    pub fn apply(&self, update: Update) {
        let revision = match update {
            Update::Snapshot(snapshot, revision) => {
                // Before the lock is taken: with many functions it takes long, and so does dropping the former ones.
                let contents = Contents::of(snapshot);
                let former = std::mem::replace(&mut *self.contents.write(), contents);
                drop(former);
                revision
            }
            Update::Changes(changes, revision) => {
                let mut contents = self.contents.write();
                changes.into_iter().for_each(|change| contents.apply(change));
                revision
            }
        };
        self.revision.send_replace(Some(revision));
    }

    /// Registers metrics of its size and its revision.
    pub fn show(self: &Arc<Self>, registry: &Registry) {
        let catalog = Arc::clone(self);
        let help = "Functions that can be invoked.";
        read_gauge(registry, "funless_scheduler_functions", help, &[], move || {
            catalog.contents.read().names.len() as f64
        });
        let catalog = Arc::clone(self);
        let help = "The registry's revision up to which functions and scripts are known.";
        read_gauge(registry, "funless_scheduler_catalog_revision", help, &[], move || {
            catalog.revision.borrow().unwrap_or_default() as f64
        });
    }

    /// The revision of the registry that it has reached; `None` before the first snapshot.
    pub fn revision(&self) -> Option<u64> {
        *self.revision.borrow()
    }

    /// Whether it has a snapshot that is at least at `revision`.
    pub fn has_reached(&self, revision: u64) -> bool {
        self.revision().is_some_and(|now| now >= revision)
    }

    /// Waits until it has a snapshot that is at least at `revision`.
    pub async fn wait_for_revision(&self, revision: u64) {
        let mut newer = self.revision.subscribe();
        // The sender lives as long as the catalog. The condition runs under the lock of the revision: taking it once
        // more would be a deadlock if `apply` waited for it in between.
        let _ = newer.wait_for(|known| known.is_some_and(|now| now >= revision)).await;
    }

    /// Waits until `function` is deleted or has other code.
    pub async fn wait_for_change(&self, function: &Arc<Function>, deadline: Deadline) {
        let mut newer = self.revision.subscribe();
        let has_changed = |_: &Option<u64>| {
            let now = self.function_by_id(&function.id);
            now.is_none_or(|now| now.code != function.code)
        };
        let _ = tokio::time::timeout_at(deadline.instant(), newer.wait_for(has_changed)).await;
    }

    /// Waits until no function uses `code`.
    pub async fn wait_until_unused(&self, code: &Bytes) {
        let mut newer = self.revision.subscribe();
        let is_unused = |_: &Option<u64>| {
            let contents = self.contents.read();
            let mut functions = contents.functions.values().flat_map(HashMap::values);
            !functions.any(|function| function.code.as_ref().is_some_and(|used| used.hash == *code))
        };
        // The sender lives as long as the catalog.
        let _ = newer.wait_for(is_unused).await;
    }

    /// Waits until the function with this id is deleted.
    pub async fn wait_until_deleted(&self, id: &str) {
        let mut newer = self.revision.subscribe();
        // The sender lives as long as the catalog.
        let _ = newer.wait_for(|_| self.function_by_id(id).is_none()).await;
    }

    /// The function with this name.
    pub fn function(&self, module: &str, name: &str) -> Option<Arc<Function>> {
        self.contents.read().functions.get(module)?.get(name).cloned()
    }

    /// The function with this name, if the caller may invoke it.
    pub fn find_by_name(
        &self,
        caller: &Caller,
        module: &str,
        function: &str,
    ) -> Result<Arc<Function>, SchedulingError> {
        let found = self.function(module, function).filter(|function| caller.reaches(&function.owner));
        found.ok_or_else(|| SchedulingError::FunctionNotFound {
            module: module.to_owned(),
            function: function.to_owned(),
        })
    }

    /// The function with this id, or with this name if the id is empty, if the caller may invoke it.
    pub fn find(
        &self,
        caller: &Caller,
        id: &str,
        module: &str,
        function: &str,
    ) -> Result<Arc<Function>, SchedulingError> {
        if id.is_empty() {
            return self.find_by_name(caller, module, function);
        }
        let function = self.function_by_id(id).filter(|function| caller.reaches(&function.owner));
        function.ok_or_else(|| SchedulingError::FunctionIdNotFound(id.to_owned()))
    }

    /// An invocation of a function. The policy is that of `scheduling`, else the function's own script, else
    /// the default policy.
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

    /// The function with this id.
    pub fn function_by_id(&self, id: &str) -> Option<Arc<Function>> {
        let contents = self.contents.read();
        let (module, name) = contents.names.get(id)?;
        contents.functions.get(module)?.get(name).cloned()
    }

    /// The policy of the script with this name.
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

    /// The default policy.
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
            // The changes of a module's functions come one by one.
            Some(Kind::ModulePut(_) | Kind::ModuleDeleted(_)) | None => {}
        }
    }

    fn put(&mut self, function: Function) {
        self.remove(&function.id);
        let name = (function.module.clone(), function.name.clone());
        self.names.insert(function.id.clone(), name);
        let module = self.functions.entry(function.module.clone()).or_default();
        module.insert(function.name.clone(), Arc::new(function));
    }

    fn put_script(&mut self, Script { name, content, .. }: Script) {
        let script = app::parse(&content).map(Arc::new).map_err(|problems| {
            let problem = problems.into_iter().next().map_or_else(String::new, |problem| problem.message);
            tracing::warn!(script = name, problem, "a stored script cannot be used");
            problem
        });
        self.scripts.insert(name.into(), script);
    }

    fn remove(&mut self, id: &str) {
        let Some((module, name)) = self.names.remove(id) else { return };
        let Some(functions) = self.functions.get_mut(&module) else { return };
        // Another function of the same revision may have got this name.
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
    fn a_rename_removes_the_old_name() {
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
            async move { catalog.wait_for_revision(2).await }
        });
        catalog.apply(Update::Snapshot(Snapshot::default(), 1));
        assert!(catalog.has_reached(1) && !catalog.has_reached(2));
        catalog.apply(Update::Changes(vec![put(function("1", "_", "a"))], 2));
        waiting.await.expect("no panic");
        assert!(catalog.function("_", "a").is_some());
    }
}
