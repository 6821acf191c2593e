//! `fl admin deploy`, with programs that record how they are called.

use std::os::unix::fs::PermissionsExt as _;

use super::support::{Home, Printed};

/// Writes a program that records its arguments, and fails if they contain the word `fail`.
fn program(home: &Home, name: &str, fails_with: Option<&str>) {
    let fails = fails_with.map_or_else(String::new, |words| {
        format!("case \" $* \" in *\" {words} \"*) echo \"{name}: no $*\" >&2; exit 3;; esac\n")
    });
    let text = format!("#!/bin/sh\necho \"{name} $*\" >> \"$HOME/calls\"\n{fails}");
    let path = home.write(&format!("bin/{name}"), text);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("it can be run");
}

async fn run(home: &Home, line: &str) -> Printed {
    home.run_with(line, "PATH", format!("{}:/usr/bin:/bin", home.path().join("bin").display())).await
}

/// The calls since the last time, with the folder as HOME.
fn calls(home: &Home) -> String {
    let path = home.path().join("calls");
    let calls = std::fs::read_to_string(&path).unwrap_or_default();
    let _ = std::fs::remove_file(path);
    calls.replace(&*home.path().to_string_lossy(), "HOME")
}

#[tokio::test]
async fn a_mesh_of_containers_goes_up_and_down() {
    let home = Home::new();
    program(&home, "docker", None);
    let up = run(&home, "admin deploy docker up").await;
    assert_eq!(up.code, Some(0), "{up}");
    insta::assert_snapshot!(up.out);
    let compose = "HOME/.fl/deploy/compose/compose.yaml";
    assert_eq!(
        calls(&home),
        format!("docker compose version\ndocker compose --file {compose} up --detach --no-build --wait\n")
    );
    let written = home.path().join(".fl/deploy");
    let token = std::fs::read_to_string(written.join("compose/secrets/admin-token")).expect("a secret");
    assert_eq!(token.trim().len(), 64);
    let deploy = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    for file in ["compose/compose.yaml", "grafana/dashboards/overview.json", "prometheus/rules/alerts.yml"] {
        let read = |root: &std::path::Path| std::fs::read_to_string(root.join(file)).expect(file);
        assert_eq!(read(&written), read(&deploy), "{file}");
    }

    std::fs::write(written.join("compose/compose.yaml"), "name: mine\n").expect("edited");
    let again = run(&home, "a deploy d u").await;
    assert!(again.code == Some(0) && again.err.contains("compose.yaml is kept as it was edited"), "{again}");
    let same = std::fs::read_to_string(written.join("compose/secrets/admin-token")).expect("a secret");
    assert_eq!(same, token, "secrets are kept");
    calls(&home);
    for (line, more) in [("a deploy d d", ""), ("admin deploy docker down --volumes", " --volumes")] {
        assert_eq!(run(&home, line).await.code, Some(0));
        assert_eq!(
            calls(&home),
            format!("docker compose version\ndocker compose --file {compose} down{more}\n")
        );
    }
}

#[tokio::test]
async fn a_mesh_on_a_cluster_goes_up_and_down() {
    let home = Home::new();
    program(&home, "kubectl", None);
    let up = run(&home, "admin deploy kubernetes up").await;
    assert_eq!(up.code, Some(0), "{up}");
    insta::assert_snapshot!(up.out);
    let overlays = "HOME/.fl/deploy/k8s/overlays";
    let expected = format!(
        "kubectl version --client\nkubectl apply --kustomize {overlays}/dev\nkubectl wait --namespace=funless \
         --for=condition=Available deployment --all --timeout=300s\n"
    );
    assert_eq!(calls(&home), expected);
    let line = "a deploy k8s u --overlay production --context c --no-wait --dir d";
    assert_eq!(run(&home, line).await.code, Some(0));
    let expected =
        "kubectl version --client\nkubectl --context c apply --kustomize d/k8s/overlays/production\n";
    assert_eq!(calls(&home), expected);
    assert_eq!(run(&home, "a deploy k d").await.code, Some(0));
    let expected =
        format!("kubectl version --client\nkubectl delete --kustomize {overlays}/dev --ignore-not-found\n");
    assert_eq!(calls(&home), expected);
}

#[tokio::test]
async fn programs_that_are_missing_or_fail() {
    let home = Home::new();
    let mut all = String::new();
    let mut add = |what: &str, printed: Printed| {
        assert_eq!(printed.code, Some(1), "{printed}");
        all.push_str(&format!("{what}\n{printed}\n"));
    };
    std::fs::create_dir(home.path().join("bin")).expect("a folder");
    let empty = home.path().join("bin");
    for line in ["admin deploy docker up", "admin deploy kubernetes up"] {
        add(&format!("$ fl {line}"), home.run_with(line, "PATH", &empty).await);
    }
    assert!(!home.path().join(".fl").exists(), "nothing was written");
    program(&home, "docker", Some("compose version"));
    add("without the plugin", run(&home, "admin deploy docker up").await);
    program(&home, "docker", Some("up --detach"));
    add("without images", run(&home, "admin deploy docker up").await);
    program(&home, "kubectl", Some("wait"));
    add("without nodes", run(&home, "admin deploy kubernetes up").await);
    insta::assert_snapshot!(all);
}
