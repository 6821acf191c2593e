//! Files that are committed, and written from the code.

use std::fs;

use anyhow::{Context as _, ensure};

use crate::{chart, dashboards, workspace};

/// A generated file.
#[derive(Debug)]
pub(crate) struct Generated {
    /// From the root of the repository.
    path: String,
    content: String,
    /// The task that writes it.
    task: &'static str,
}

/// The Grafana dashboards.
pub(crate) fn dashboards() -> anyhow::Result<Vec<Generated>> {
    let file = |(name, dashboard)| -> anyhow::Result<_> {
        let content = format!("{}\n", serde_json::to_string_pretty(&dashboard)?);
        Ok(Generated { path: format!("deploy/grafana/dashboards/{name}"), content, task: "dashboards" })
    };
    dashboards::all().into_iter().map(file).collect()
}

/// The Helm chart and the rules for the Prometheus Operator.
pub(crate) fn chart() -> anyhow::Result<Vec<Generated>> {
    let files = chart::files()?.into_iter();
    Ok(files.map(|(path, content)| Generated { path, content, task: "chart" }).collect())
}

/// The OpenAPI document of the REST API.
pub(crate) fn openapi() -> anyhow::Result<Generated> {
    let content = format!("{}\n", gateway_svc::openapi().to_pretty_json()?);
    Ok(Generated { path: "gateway-svc/openapi.json".into(), content, task: "openapi" })
}

impl Generated {
    /// Writes the file.
    pub(crate) fn write(&self) -> anyhow::Result<()> {
        let path = workspace::root().join(&self.path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        fs::write(path, &self.content).with_context(|| format!("cannot write {}", self.path))
    }

    /// Fails unless the file is what would be written.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let committed = fs::read_to_string(workspace::root().join(&self.path))
            .with_context(|| format!("cannot read {}", self.path))?;
        ensure!(committed == self.content, "{} is out of date: run cargo xtask {}", self.path, self.task);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_files_are_up_to_date() {
        let mut files = dashboards().expect("dashboards are serializable");
        let dashboards = files.len();
        files.push(openapi().expect("the document is serializable"));
        files.extend(chart().expect("deploy/k8s has what the chart needs"));
        let problems: Vec<_> =
            files.iter().filter_map(|file| file.check().err()).map(|error| format!("{error:#}")).collect();
        assert!(problems.is_empty(), "{}", problems.join("\n"));
        let folder = fs::read_dir(workspace::root().join("deploy/grafana/dashboards")).expect("a folder");
        assert_eq!(folder.count(), dashboards, "a dashboard that nothing writes");
    }
}
