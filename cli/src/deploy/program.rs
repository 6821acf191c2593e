//! The programs that do the work.

use std::io::ErrorKind;
use std::process::Stdio;

use anyhow::{Context as _, bail};
use tokio::process::Command;

/// A program, and how to get it.
#[derive(Debug)]
pub struct Program {
    name: &'static str,
    /// A command that succeeds if all that is needed is there.
    check: &'static [&'static str],
    /// How to get the program.
    missing: &'static str,
    /// What to do if the check fails.
    broken: &'static str,
}

impl Program {
    /// Docker with its plugin Compose.
    pub const DOCKER: Self = Self {
        name: "docker",
        check: &["compose", "version"],
        missing: "install Docker Engine with Compose: https://docs.docker.com/engine/install",
        broken: "install the plugin Compose: https://docs.docker.com/compose/install/linux",
    };
    /// The client of Kubernetes.
    pub const KUBECTL: Self = Self {
        name: "kubectl",
        check: &["version", "--client"],
        missing: "install it: https://kubernetes.io/docs/tasks/tools, and configure a cluster",
        broken: "install a newer one: https://kubernetes.io/docs/tasks/tools",
    };

    /// Checks that the program is there.
    pub async fn found(self) -> anyhow::Result<Self> {
        let Self { name, check, missing, broken } = &self;
        let mut command = Command::new(name);
        match command.args(*check).stdin(Stdio::null()).output().await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                bail!("there is no `{name}` in the PATH; {missing}")
            }
            Err(error) => Err(error).with_context(|| format!("cannot run `{name}`")),
            Ok(output) if !output.status.success() => {
                let why = String::from_utf8_lossy(&output.stderr);
                let why = why.lines().next().unwrap_or("it says nothing");
                bail!("`{name} {}` fails: {why}; {broken}", check.join(" "))
            }
            Ok(_) => Ok(self),
        }
    }

    /// Runs it. Its output is that of this program.
    pub async fn run(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let line = || format!("`{} {}`", self.name, arguments.join(" "));
        let status = Command::new(self.name).args(arguments).status().await;
        let status = status.with_context(|| format!("cannot run {}", line()))?;
        if !status.success() {
            bail!("{} failed: {status}", line());
        }
        Ok(())
    }
}
