//! What is to be done, so that a mesh has what the files say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::bail;
use mesh::hash::Hash;
use reqwest::{Method, StatusCode};

use super::code;
use super::compare::{Current, Difference, Wanted};
use super::record::Record;
use super::tree::{Function, Module, Script, Tree};
use crate::client::{Client, data};
use crate::names;
use crate::scripts::{self, Problem};

/// The records of the folders that are applied.
pub type Records = BTreeMap<PathBuf, Record>;

/// All steps, in the order in which they are done.
pub struct Plan<'a> {
    pub modules: Vec<ModuleStep<'a>>,
    pub scripts: Vec<ScriptStep<'a>>,
    pub functions: Vec<FunctionStep<'a>>,
    pub deletions: Deletions,
}

pub struct ModuleStep<'a> {
    pub name: &'a str,
    pub module: &'a Module,
    pub exists: bool,
}

pub struct ScriptStep<'a> {
    pub name: &'a str,
    pub script: &'a Script,
    /// The content that the mesh has.
    pub old: Option<String>,
    pub warnings: Vec<Problem>,
}

impl ScriptStep<'_> {
    /// Whether the mesh has the script as it is.
    pub fn is_done(&self) -> bool {
        self.old.as_deref() == Some(&self.script.content)
    }
}

pub struct FunctionStep<'a> {
    pub function: &'a Function,
    /// Empty if nothing is to be sent.
    pub code: Vec<u8>,
    pub current: Option<Current>,
    /// Of a function that exists.
    pub differences: Vec<Difference>,
}

impl FunctionStep<'_> {
    /// Its module and its name.
    pub fn name(&self) -> String {
        full_name(&self.function.manifest.module, &self.function.manifest.name)
    }

    /// Whether the mesh has the function as it is.
    pub fn is_done(&self) -> bool {
        self.current.is_some() && self.differences.is_empty()
    }
}

/// What the files no longer name, by the folder that it belongs to.
#[derive(Debug, Default)]
pub struct Deletions {
    /// By id, with the name.
    pub functions: Vec<(PathBuf, String, (String, String))>,
    pub scripts: Vec<(PathBuf, String)>,
    pub modules: Vec<(PathBuf, String)>,
    /// What is no longer there, or no longer what was created. It is forgotten.
    pub forgotten: Vec<(PathBuf, Forgotten)>,
    /// Why something stays.
    pub notes: Vec<String>,
}

/// A key of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forgotten {
    Function(String),
    Script(String),
    Module(String),
}

/// `module/function`.
pub fn full_name(module: &str, name: &str) -> String {
    format!("{module}/{name}")
}

/// The function that a mesh has under this name, if it has one.
pub async fn current(client: &Client, module: &str, name: &str) -> anyhow::Result<Option<Current>> {
    let answer = client.ask(client.request(Method::GET, &["fn", module, name])?).await?;
    match answer.status {
        StatusCode::NOT_FOUND => Ok(None),
        _ => Ok(Some(data(&answer.success()?)?)),
    }
}

impl Plan<'_> {
    /// What is doubtful about the scripts that are to be stored.
    pub fn warnings(&self) -> Vec<String> {
        let warnings = self
            .scripts
            .iter()
            .flat_map(|step| step.warnings.iter().map(|warning| warning.at(&step.script.file)));
        warnings.collect()
    }
}

impl<'a> Plan<'a> {
    /// Builds all functions and compares everything with the mesh. The error has all that is wrong.
    pub async fn make(
        tree: &'a Tree,
        records: &Records,
        client: &Client,
        prunes: bool,
    ) -> anyhow::Result<Self> {
        let existing = names::modules(client).await?;
        let modules = tree.modules.iter().map(|(name, module)| ModuleStep {
            name,
            module,
            exists: existing.contains(name),
        });
        let modules = modules.collect();
        let (mut scripts, mut functions, mut problems) = (Vec::new(), Vec::new(), Vec::new());
        for (name, script) in &tree.scripts {
            match script_step(name, script, client).await {
                Ok(step) => scripts.push(step),
                Err(error) => problems.push(format!("script {name}: {error:#}")),
            }
        }
        for function in tree.functions.values() {
            match Box::pin(function_step(function, records, client)).await {
                Ok(step) => functions.push(step),
                Err(error) => {
                    let name = full_name(&function.manifest.module, &function.manifest.name);
                    problems.push(format!("function {name}: {error:#}"));
                }
            }
        }
        if !problems.is_empty() {
            bail!("nothing was changed, since not everything can be:\n  {}", problems.join("\n  "));
        }
        let deletions = match prunes {
            true => Deletions::find(tree, records, client, &existing).await?,
            false => Deletions::default(),
        };
        Ok(Self { modules, scripts, functions, deletions })
    }
}

async fn script_step<'a>(
    name: &'a str,
    script: &'a Script,
    client: &Client,
) -> anyhow::Result<ScriptStep<'a>> {
    let old = scripts::content(client, name).await?;
    let mut step = ScriptStep { name, script, old, warnings: Vec::new() };
    if !step.is_done() {
        let found = scripts::check(client, &script.content).await?;
        if !found.errors.is_empty() {
            let errors: Vec<_> = found.errors.iter().map(|error| error.at(&script.file)).collect();
            bail!("{}", errors.join("\n    "));
        }
        step.warnings = found.warnings;
    }
    Ok(step)
}

async fn function_step<'a>(
    function: &'a Function,
    records: &Records,
    client: &Client,
) -> anyhow::Result<FunctionStep<'a>> {
    let manifest = &function.manifest;
    let code = code::build(function).await?;
    let current = current(client, &manifest.module, &manifest.name).await?;
    let mut step = FunctionStep { function, code, current, differences: Vec::new() };
    if let Some(current) = &step.current {
        let wanted = Wanted { manifest, code: &step.code };
        if let Some(unknown) = wanted.unknown_keys(current) {
            bail!("{}: {unknown}", function.origin.file.display());
        }
        let applied = records.get(&function.origin.root).map(Record::applied).unwrap_or_default();
        let remembered = applied.functions.get(&current.id).map(|function| function.bindings.clone());
        step.differences = wanted.differences(current, remembered.as_deref());
    }
    if step.is_done() {
        step.code = Vec::new();
    }
    Ok(step)
}

impl Deletions {
    /// What earlier runs have created and the files no longer name, as long as it is still what was created.
    async fn find(
        tree: &Tree,
        records: &Records,
        client: &Client,
        existing: &[String],
    ) -> anyhow::Result<Self> {
        let mut deletions = Self::default();
        for (root, record) in records {
            deletions.find_functions(tree, root, record, client).await?;
            deletions.find_scripts(tree, root, record, client).await?;
        }
        for (root, record) in records {
            for name in record.applied().modules {
                if !tree.modules.contains_key(&name) {
                    deletions.find_module(root, name, client, existing).await?;
                }
            }
        }
        Ok(deletions)
    }

    async fn find_functions(
        &mut self,
        tree: &Tree,
        root: &Path,
        record: &Record,
        client: &Client,
    ) -> anyhow::Result<()> {
        for (id, function) in record.applied().functions {
            let key = (function.module, function.name);
            if tree.functions.contains_key(&key) {
                continue;
            }
            let is_ours = match function.created {
                true => current(client, &key.0, &key.1).await?.is_some_and(|current| current.id == id),
                false => false,
            };
            match is_ours {
                true => self.functions.push((root.to_owned(), id, key)),
                false => self.forgotten.push((root.to_owned(), Forgotten::Function(id))),
            }
        }
        Ok(())
    }

    async fn find_scripts(
        &mut self,
        tree: &Tree,
        root: &Path,
        record: &Record,
        client: &Client,
    ) -> anyhow::Result<()> {
        for (name, hash) in record.applied().scripts {
            if tree.scripts.contains_key(&name) {
                continue;
            }
            match scripts::content(client, &name).await? {
                Some(content) if hash_of(&content) == hash => self.scripts.push((root.to_owned(), name)),
                content => {
                    if content.is_some() {
                        self.notes.push(format!("script {name} is kept: somebody else has changed it"));
                    }
                    self.forgotten.push((root.to_owned(), Forgotten::Script(name)));
                }
            }
        }
        Ok(())
    }

    async fn find_module(
        &mut self,
        root: &Path,
        name: String,
        client: &Client,
        existing: &[String],
    ) -> anyhow::Result<()> {
        if !existing.contains(&name) {
            self.forgotten.push((root.to_owned(), Forgotten::Module(name)));
            return Ok(());
        }
        let deleted: BTreeSet<_> = self.functions.iter().map(|(_, _, key)| key.clone()).collect();
        let functions = names::functions(client, &name).await?;
        let kept =
            functions.into_iter().find(|function| !deleted.contains(&(name.clone(), function.clone())));
        match kept {
            None => self.modules.push((root.to_owned(), name)),
            Some(function) => self.notes.push(format!(
                "module {name} is kept: `fl apply` did not create its function {}",
                full_name(&name, &function)
            )),
        }
        Ok(())
    }
}

/// What a record remembers of a script.
pub fn hash_of(content: &str) -> String {
    Hash::of(content.as_bytes()).to_string()
}

/// What `--prune` would look at, by name.
pub fn orphans(tree: &Tree, records: &Records) -> Vec<String> {
    let mut orphans = Vec::new();
    for applied in records.values().map(Record::applied) {
        for function in applied.functions.into_values().filter(|function| function.created) {
            let name = full_name(&function.module, &function.name);
            if !tree.functions.contains_key(&(function.module, function.name)) {
                orphans.push(format!("function {name}"));
            }
        }
        let scripts = applied.scripts.into_keys().filter(|name| !tree.scripts.contains_key(name));
        orphans.extend(scripts.map(|name| format!("script {name}")));
        let modules = applied.modules.into_iter().filter(|name| !tree.modules.contains_key(name));
        orphans.extend(modules.map(|name| format!("module {name}")));
    }
    orphans
}
