//! Does what a plan says, and records what it creates.

use std::path::Path;

use anyhow::{Context as _, bail};
use reqwest::Method;
use reqwest::multipart::Form;
use serde_json::json;

use super::compare::{Current, Part, Wanted};
use super::plan::{Deletions, Forgotten, FunctionStep, ModuleStep, Plan, Records, ScriptStep};
use super::plan::{current, full_name, hash_of};
use super::record::{Applied, AppliedFunction};
use super::shown::{Counts, summary};
use crate::args::Apply;
use crate::bindings::{UploadReport, report_unless_connected};
use crate::client::Client;
use crate::functions::{Progress, warnings_about_workers};
use crate::output::{self, note, warn};
use crate::{modules, names, scripts};

/// Does all steps, whatever becomes of the others, and then says what has failed.
pub async fn all(
    plan: &Plan<'_>,
    records: &mut Records,
    client: &Client,
    options: &Apply,
) -> anyhow::Result<()> {
    let mut run = Run { records, client, options, counts: Counts::default(), failed: 0 };
    for step in &plan.modules {
        let outcome = run.module(step).await;
        run.report(&format!("module {}", step.name), outcome)?;
    }
    for step in &plan.scripts {
        let outcome = run.script(step).await;
        run.report(&format!("script {}", step.name), outcome)?;
    }
    for step in &plan.functions {
        let outcome = Box::pin(run.function(step)).await;
        run.report(&format!("function {}", step.name()), outcome)?;
    }
    // What failed may be what takes the place of something.
    if run.failed == 0 {
        run.delete(&plan.deletions).await?;
    }
    let Run { counts, failed, .. } = run;
    options.quiet.done(&summary(&counts, ["created", "updated", "deleted"]))?;
    match failed {
        0 => Ok(()),
        _ if options.prune => bail!("{failed} failed, so nothing was deleted; correct them, and apply again"),
        _ => bail!("{failed} failed; correct them, and apply again"),
    }
}

/// What was done.
#[derive(Debug, PartialEq, Eq)]
enum Done {
    Unchanged,
    Created,
    /// With what has changed.
    Updated(String),
    Deleted,
}

struct Run<'a> {
    records: &'a mut Records,
    client: &'a Client,
    options: &'a Apply,
    counts: Counts,
    failed: usize,
}

impl Run<'_> {
    fn report(&mut self, name: &str, outcome: anyhow::Result<Done>) -> anyhow::Result<()> {
        let (count, done) = match outcome {
            Ok(Done::Unchanged) => (&mut self.counts.unchanged, "unchanged".to_owned()),
            Ok(Done::Created) => (&mut self.counts.created, "created".to_owned()),
            Ok(Done::Updated(what)) => (&mut self.counts.updated, format!("updated ({what})")),
            Ok(Done::Deleted) => (&mut self.counts.deleted, "deleted".to_owned()),
            Err(error) => {
                self.failed += 1;
                let words = error.downcast_ref().and_then(crate::client::Refusal::words);
                let words = words.unwrap_or_else(|| format!("{error:#}"));
                note(&format!("{name} {}: {words}", output::styled(output::BAD, "failed")));
                return Ok(());
            }
        };
        *count += 1;
        self.options.quiet.done(&format!("{name} {done}"))
    }

    fn record(&mut self, root: &Path, change: impl FnOnce(&mut Applied)) -> anyhow::Result<()> {
        match self.records.get_mut(root) {
            Some(record) => record.change(change),
            None => bail!("{} has no record", root.display()),
        }
    }

    async fn module(&mut self, step: &ModuleStep<'_>) -> anyhow::Result<Done> {
        if step.exists {
            return Ok(Done::Unchanged);
        }
        modules::create(self.client, step.name).await?;
        self.record(&step.module.origin.root, |applied| applied.modules.push(step.name.to_owned()))?;
        Ok(Done::Created)
    }

    async fn script(&mut self, step: &ScriptStep<'_>) -> anyhow::Result<Done> {
        let ScriptStep { name, script, old, .. } = step;
        if step.is_done() {
            return Ok(Done::Unchanged);
        }
        let store = |content: &str| scripts::store(self.client, name, &script.file, content.to_owned());
        if let Some(old) = old {
            // There is no other way to change one. Functions that use it wait a moment.
            scripts::delete(self.client, name, true).await?;
            if let Err(error) = store(&script.content).await {
                store(old).await.context("the script is lost, and could not be stored as it was")?;
                return Err(error);
            }
        } else {
            store(&script.content).await?;
        }
        let (is_new, hash) = (old.is_none(), hash_of(&script.content));
        self.record(&script.origin.root, |applied| {
            if is_new || applied.scripts.contains_key(*name) {
                applied.scripts.insert((*name).to_owned(), hash);
            }
        })?;
        Ok(if is_new { Done::Created } else { Done::Updated("content".to_owned()) })
    }

    async fn function(&mut self, step: &FunctionStep<'_>) -> anyhow::Result<Done> {
        if step.is_done() {
            return Ok(Done::Unchanged);
        }
        let manifest = &step.function.manifest;
        let wanted = Wanted { manifest, code: &step.code };
        let answer = self.send(step, &wanted).await?;
        let now = current(self.client, &manifest.module, &manifest.name).await?;
        let now = now.context("it was stored, and somebody else has deleted it")?;
        let (is_new, id) = (step.current.is_none(), now.id.clone());
        self.record(&step.function.origin.root, |applied| {
            let was_created = applied.functions.get(&id).is_some_and(|known| known.created);
            let function = AppliedFunction {
                module: manifest.module.clone(),
                name: manifest.name.clone(),
                created: is_new || was_created,
                bindings: wanted.bindings_hash(),
            };
            applied.functions.insert(id, function);
        })?;
        report_problems(&step.name(), &answer, &wanted, &now)?;
        if is_new {
            return Ok(Done::Created);
        }
        let what: Vec<_> = step.differences.iter().map(|difference| &*difference.what).collect();
        Ok(Done::Updated(what.join(", ")))
    }

    /// Sends what differs, and everything of a new function.
    async fn send(&self, step: &FunctionStep<'_>, wanted: &Wanted<'_>) -> anyhow::Result<String> {
        let manifest = wanted.manifest;
        let is_new = step.current.is_none();
        let sends = |part| is_new || step.differences.iter().any(|difference| difference.part == part);
        let waits = !self.options.no_wait;
        let mut form = Form::new().text("wait_for_workers", waits.to_string());
        let progress = Progress::of(&step.name(), step.code.len(), self.options.quiet.quiet);
        if sends(Part::Code) {
            let code =
                progress.part(step.code.clone()).file_name("code.wasm").mime_str("application/wasm")?;
            form = form.part("code", code);
        }
        for (part, text) in [
            (Part::Metadata, wanted.metadata()),
            (Part::Events, json!(manifest.events)),
            (Part::Sinks, json!(manifest.sinks)),
        ] {
            if sends(part) {
                form = form.text(part.name(), text.to_string());
            }
        }
        let (module, name) = (&*manifest.module, &*manifest.name);
        let request = match is_new {
            true => {
                form = form.text("name", manifest.name.clone());
                self.client.request(Method::POST, &["fn", module])?
            }
            false => self.client.request(Method::PUT, &["fn", module, name])?,
        };
        self.client.send(request.multipart(form)).await
    }

    async fn delete(&mut self, deletions: &Deletions) -> anyhow::Result<()> {
        for (root, key) in &deletions.forgotten {
            self.record(root, |applied| forget(applied, key))?;
        }
        for (root, id, (module, name)) in &deletions.functions {
            let request = self.client.request(Method::DELETE, &["fn", module, name])?;
            let outcome = self.client.send(request).await;
            let outcome = self.deleted(root, &Forgotten::Function(id.clone()), outcome.map(|_| ()));
            self.report(&format!("function {}", full_name(module, name)), outcome)?;
        }
        for (root, name) in &deletions.scripts {
            let outcome = scripts::delete(self.client, name, false).await;
            let outcome = self.deleted(root, &Forgotten::Script(name.clone()), outcome);
            self.report(&format!("script {name}"), outcome)?;
        }
        for (root, name) in &deletions.modules {
            let outcome = delete_module(self.client, name).await;
            let outcome = self.deleted(root, &Forgotten::Module(name.clone()), outcome);
            self.report(&format!("module {name}"), outcome)?;
        }
        for text in &deletions.notes {
            note(text);
        }
        Ok(())
    }

    fn deleted(&mut self, root: &Path, key: &Forgotten, outcome: anyhow::Result<()>) -> anyhow::Result<Done> {
        outcome?;
        self.record(root, |applied| forget(applied, key))?;
        Ok(Done::Deleted)
    }
}

fn forget(applied: &mut Applied, key: &Forgotten) {
    match key {
        Forgotten::Function(id) => drop(applied.functions.remove(id)),
        Forgotten::Script(name) => drop(applied.scripts.remove(name)),
        Forgotten::Module(name) => applied.modules.retain(|module| module != name),
    }
}

/// Deletes a module, whose functions would go with it, if it has none.
async fn delete_module(client: &Client, name: &str) -> anyhow::Result<()> {
    if let Some(function) = names::functions(client, name).await?.first() {
        bail!("it is kept, since it has got a function {}", full_name(name, function));
    }
    client.send(client.request(Method::DELETE, &["fn", name])?).await?;
    Ok(())
}

/// Says what is doubtful about a function that was stored. Fails if a part of it was not.
fn report_problems(name: &str, answer: &str, wanted: &Wanted<'_>, now: &Current) -> anyhow::Result<()> {
    for warning in warnings_about_workers(answer)? {
        warn(&format!("function {name}: {warning}"));
    }
    let UploadReport { lines, any_refused } = report_unless_connected(answer)?;
    if any_refused {
        bail!("it is stored without some of its events and sinks:\n    {}", lines.join("\n    "));
    }
    if !lines.is_empty() {
        warn(&format!("function {name}: not all events and sinks are connected:"));
    }
    for line in lines {
        note(&format!("  {line}"));
    }
    if let Some(unknown) = wanted.unknown_keys(now) {
        bail!("it is stored without a part of its metadata: {unknown}");
    }
    let left = wanted.differences(now, Some(&wanted.bindings_hash()));
    match left.first() {
        None => Ok(()),
        Some(difference) => bail!(
            "it was stored, and the mesh shows another {}: {}; has somebody else changed it?",
            difference.what,
            difference.old
        ),
    }
}
