//! The files of `deploy/` that this program contains.

/// A file, by its path in `deploy/`.
pub type File = (&'static str, &'static str);

macro_rules! embedded {
    ($($path:literal,)*) => {
        &[$(($path, include_str!(concat!("../../../deploy/", $path))),)*]
    };
}

// They are named one by one, so that secrets that somebody has made beside them never get into the program.
/// All of them.
pub const FILES: &[File] = embedded![
    "compose/.gitignore",
    "compose/compose.yaml",
    "compose/grafana-datasources.yml",
    "compose/make-secrets",
    "compose/mosquitto.conf",
    "compose/prometheus.yml",
    "grafana/dashboards/events-and-sinks.json",
    "grafana/dashboards/function.json",
    "grafana/dashboards/overview.json",
    "grafana/dashboards/workers.json",
    "grafana/provisioning/dashboards.yml",
    "grafana/provisioning/datasources.yml",
    "k8s/base/connector.yaml",
    "k8s/base/gateway.yaml",
    "k8s/base/kustomization.yaml",
    "k8s/base/namespace.yaml",
    "k8s/base/network-policies.yaml",
    "k8s/base/registry.yaml",
    "k8s/base/scheduler.yaml",
    "k8s/base/sink.yaml",
    "k8s/base/worker.yaml",
    "k8s/components/autoscaling/autoscalers.yaml",
    "k8s/components/autoscaling/kustomization.yaml",
    "k8s/components/gateway-api/kustomization.yaml",
    "k8s/components/gateway-api/routes.yaml",
    "k8s/components/monitoring/kustomization.yaml",
    "k8s/components/monitoring/prometheus-rules.yaml",
    "k8s/components/monitoring/service-monitor.yaml",
    "k8s/components/tracing/kustomization.yaml",
    "k8s/components/tracing/network-policy.yaml",
    "k8s/components/worker-daemonset/kustomization.yaml",
    "k8s/overlays/dev/backends.yaml",
    "k8s/overlays/dev/kustomization.yaml",
    "k8s/overlays/dev/mosquitto.conf",
    "k8s/overlays/dev/network-policies.yaml",
    "k8s/overlays/dev/public-secrets.env",
    "k8s/overlays/istio/authorization.yaml",
    "k8s/overlays/istio/kustomization.yaml",
    "k8s/overlays/istio/network-policy.yaml",
    "k8s/overlays/istio/peer-authentication.yaml",
    "k8s/overlays/linkerd/authorization.yaml",
    "k8s/overlays/linkerd/kustomization.yaml",
    "k8s/overlays/linkerd/network-policy.yaml",
    "k8s/overlays/production/kustomization.yaml",
    "prometheus/rules/alerts.yml",
    "prometheus/rules/recording.yml",
    "prometheus/rules/tests.yml",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use super::*;

    fn find(folder: &Path, found: &mut BTreeSet<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                find(&path, found);
            } else {
                found.insert(path);
            }
        }
    }

    #[test]
    fn all_files_are_embedded() {
        let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
        let mut found = BTreeSet::new();
        for folder in ["compose", "prometheus/rules", "grafana", "k8s"] {
            find(&deploy.join(folder), &mut found);
        }
        found.retain(|path| !path.starts_with(deploy.join("compose/secrets")));
        let embedded: BTreeSet<_> = FILES.iter().map(|(path, _)| deploy.join(path)).collect();
        assert_eq!(embedded, found);
    }
}
