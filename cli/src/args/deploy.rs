//! `fl admin deploy`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub enum Deploy {
    /// A mesh of containers on this machine, with Docker Compose.
    #[command(subcommand, visible_alias = "d")]
    Docker(Docker),
    /// A mesh on a cluster, with kubectl.
    #[command(subcommand, visible_aliases = ["k", "k8s"])]
    Kubernetes(Kubernetes),
}

#[derive(Debug, Subcommand)]
pub enum Docker {
    /// Start the six services with PostgreSQL, a broker, a store, metrics and traces.
    #[command(visible_alias = "u")]
    Up {
        #[command(flatten)]
        files: Files,
    },
    /// Stop them, and remove the containers.
    #[command(visible_alias = "d")]
    Down {
        #[command(flatten)]
        files: Files,
        /// Remove the data, too: functions, users, events, results.
        #[arg(long)]
        volumes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum Kubernetes {
    /// Apply the manifests.
    #[command(visible_alias = "u")]
    Up {
        #[command(flatten)]
        files: Files,
        #[command(flatten)]
        cluster: Cluster,
        /// Return before the services are available.
        #[arg(long)]
        no_wait: bool,
    },
    /// Delete everything that they describe, with the namespace `funless`.
    #[command(visible_alias = "d")]
    Down {
        #[command(flatten)]
        files: Files,
        #[command(flatten)]
        cluster: Cluster,
    },
}

/// The files of the deployment.
#[derive(Debug, Args)]
pub struct Files {
    /// Folder of the files. Default: ~/.fl/deploy.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Write all files anew, also those that were edited. Secrets are kept.
    #[arg(long)]
    pub overwrite: bool,
}

/// What is applied, and where.
#[derive(Debug, Args)]
pub struct Cluster {
    /// Overlay: the variant of the deployment.
    #[arg(long, value_enum, default_value_t = Overlay::Dev)]
    pub overlay: Overlay,
    /// Context of kubectl. Default: the current one.
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

/// A folder of deploy/k8s/overlays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Overlay {
    /// One replica of each service, with its database, a broker and a store, and secrets that everyone knows.
    Dev,
    /// For several nodes; takes the Gateway API, the Prometheus Operator, PostgreSQL and a Secret.
    Production,
    /// Production with Linkerd.
    Linkerd,
    /// Production with Istio.
    Istio,
}

impl Overlay {
    /// The name of the folder.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Production => "production",
            Self::Linkerd => "linkerd",
            Self::Istio => "istio",
        }
    }
}
