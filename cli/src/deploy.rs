//! `fl admin deploy`: a mesh in containers, from the files that this program contains.

mod embedded;
mod program;
mod secrets;
mod written;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::args::{Cluster, Deploy, Docker, Files, Kubernetes};
use crate::output;
use program::Program;

/// How long Kubernetes may take to make the services available.
const AVAILABLE_TIMEOUT: &str = "--timeout=300s";
const NAMESPACE: &str = "--namespace=funless";

/// Runs one of the commands.
pub async fn run(command: Deploy) -> anyhow::Result<()> {
    match command {
        Deploy::Docker(Docker::Up { files }) => docker_up(&files).await,
        Deploy::Docker(Docker::Down { files, volumes }) => {
            let file = existing(&files, "compose/compose.yaml", "fl admin deploy docker up")?;
            let compose = Program::DOCKER.found().await?;
            let volumes: &[&str] = if volumes { &["--volumes"] } else { &[] };
            compose.run(&[&["compose", "--file", &file, "down"][..], volumes].concat()).await
        }
        Deploy::Kubernetes(Kubernetes::Up { files, cluster, no_wait }) => {
            kubernetes_up(&files, &cluster, no_wait).await
        }
        Deploy::Kubernetes(Kubernetes::Down { files, cluster }) => {
            let overlay = format!("k8s/overlays/{}", cluster.overlay.as_str());
            let folder = existing(&files, &overlay, "fl admin deploy kubernetes up")?;
            let kubectl = Program::KUBECTL.found().await?;
            let delete = ["delete", "--kustomize", &folder, "--ignore-not-found"];
            kubectl.run(&in_context(&cluster, &delete)).await
        }
    }
}

async fn docker_up(files: &Files) -> anyhow::Result<()> {
    let compose = Program::DOCKER.found().await?;
    let folder = write(files)?;
    secrets::make(&folder.join("compose/secrets"))?;
    let file = path(&folder, "compose/compose.yaml")?;
    // The source, from which the images could be built, is not here.
    let up = ["compose", "--file", &file, "up", "--detach", "--no-build", "--wait"];
    compose.run(&up).await.context(
        "the mesh does not run; if images are missing, build them with `scripts/images build` from the source, and see \
         the message above otherwise",
    )?;
    output::text(&format!(
        "The mesh runs: REST at http://127.0.0.1:4000, gRPC at 127.0.0.1:4010, Grafana at http://127.0.0.1:3000.\n\
         To use it:\n  fl cfg set api_host 127.0.0.1:4000\n  fl cfg set admin_token - < {token}\n  \
         fl admin user create NAME\n",
        token = path(&folder, "compose/secrets/admin-token")?
    ))
}

async fn kubernetes_up(files: &Files, cluster: &Cluster, no_wait: bool) -> anyhow::Result<()> {
    let kubectl = Program::KUBECTL.found().await?;
    let folder = write(files)?;
    let overlay = path(&folder, &format!("k8s/overlays/{}", cluster.overlay.as_str()))?;
    kubectl.run(&in_context(cluster, &["apply", "--kustomize", &overlay])).await?;
    if !no_wait {
        let wait = ["wait", NAMESPACE, "--for=condition=Available", "deployment", "--all", AVAILABLE_TIMEOUT];
        kubectl.run(&in_context(cluster, &wait)).await.context(
            "the manifests are applied, but not all services are available; see `kubectl --namespace funless get pods`",
        )?;
    }
    output::text(
        "The mesh is deployed. To use it:\n  kubectl --namespace funless port-forward service/funless-gateway 4000\n  \
         fl cfg set api_host 127.0.0.1:4000\n",
    )
}

/// The arguments of kubectl for a cluster.
fn in_context<'a>(cluster: &'a Cluster, arguments: &[&'a str]) -> Vec<&'a str> {
    let context = cluster.context.as_deref();
    context.into_iter().flat_map(|context| ["--context", context]).chain(arguments.iter().copied()).collect()
}

fn folder(files: &Files) -> anyhow::Result<PathBuf> {
    let default = || std::env::home_dir().map(|home| home.join(".fl/deploy"));
    files.dir.clone().or_else(default).context("there is no home directory; name a folder with --dir")
}

fn write(files: &Files) -> anyhow::Result<PathBuf> {
    let folder = folder(files)?;
    for kept in written::write(&folder, embedded::FILES, files.overwrite)? {
        output::warn(&format!("{} is kept as it was edited; --overwrite replaces it", kept.display()));
    }
    Ok(folder)
}

/// The path of something that an earlier command has written.
fn existing(files: &Files, inside: &str, command: &str) -> anyhow::Result<String> {
    let folder = folder(files)?;
    if files.overwrite {
        write(files)?;
    }
    if !folder.join(inside).exists() {
        bail!(
            "nothing was deployed from {}; `{command}` deploys, and --dir names another folder",
            folder.display()
        );
    }
    path(&folder, inside)
}

/// A path as an argument, which has to be text.
fn path(folder: &Path, inside: &str) -> anyhow::Result<String> {
    let path = folder.join(inside);
    path.to_str()
        .map(str::to_owned)
        .with_context(|| format!("{}: expected a path that is UTF-8", path.display()))
}
