//! The manifests that `fl admin deploy` writes.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use tests::process::{repository, workspace_binary};

use crate::tools;

#[test]
fn fl_deploys_the_same_manifests() {
    let home = tempfile::tempdir().expect("a folder");
    // It is called, and does nothing: there is no cluster.
    let kubectl = home.path().join("kubectl");
    std::fs::write(&kubectl, "#!/bin/sh\n").expect("written");
    std::fs::set_permissions(&kubectl, std::fs::Permissions::from_mode(0o755)).expect("it can be run");
    let folder = home.path().join("deploy");
    let mut command = Command::new(workspace_binary("fl"));
    command.args(["admin", "deploy", "kubernetes", "up", "--dir"]).arg(&folder).env("PATH", home.path());
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rendered = |root: &std::path::Path| {
        let overlay = root.join("k8s/overlays/dev");
        tools::output("bin/kubectl", &["kustomize", overlay.to_str().expect("UTF-8")])
    };
    assert_eq!(rendered(&folder), rendered(&repository().join("deploy")));
}
