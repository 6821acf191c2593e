//! docs/operations.md names only what there is.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tests::process::repository;

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The text between pairs of backquotes on each line.
fn quoted(text: &str) -> BTreeSet<&str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn alerts_exist() {
    let (rules, guide) = (read("deploy/prometheus/rules/alerts.yml"), read("docs/operations.md"));
    let alerts: Vec<_> = quoted(&guide).into_iter().filter(|word| word.starts_with("Funless")).collect();
    assert!(alerts.len() > 5, "{alerts:?}");
    for alert in alerts {
        assert!(rules.contains(&format!("- alert: {alert}\n")), "{alert}");
    }
}

#[test]
fn overlays_and_components_exist() {
    let guide = read("docs/operations.md");
    for path in ["overlays/dev", "overlays/production", "components/autoscaling", "components/monitoring"] {
        let (kind, name) = path.split_once('/').expect("a path");
        assert!(quoted(&guide).contains(name) || guide.contains(path), "the guide mentions {kind} {name}");
    }
    let folders =
        guide.split("deploy/k8s/").skip(1).filter_map(|rest| rest.split([')', '\n', '`', ']']).next());
    for folder in folders {
        let path = Path::new("deploy/k8s").join(folder);
        assert!(repository().join(&path).is_dir(), "{}", path.display());
    }
}

#[test]
fn the_debian_package_has_files_that_exist() {
    let manifest = read("cli/Cargo.toml");
    let assets = manifest.lines().filter_map(|line| line.trim().strip_prefix("[\"")?.split('"').next());
    let (programs, files): (Vec<_>, Vec<_>) = assets.partition(|path| path.starts_with("target/release/"));
    assert_eq!(programs.len(), 7, "{programs:?}");
    assert!(files.contains(&"../deploy/systemd/*.service"), "{files:?}");
    for path in files {
        let path = repository().join("cli").join(path.trim_end_matches("*.service"));
        assert!(path.exists(), "{}", path.display());
    }
}

#[test]
fn the_image_runs_as_an_unprivileged_user() {
    let file = read("deploy/Dockerfile");
    let (_, image) = file.split_once("\nFROM scratch\n").expect("a last stage without a base image");
    for line in ["USER 65532:65532", "ENTRYPOINT [\"/service\"]"] {
        assert!(image.contains(&format!("\n{line}\n")), "{line}");
    }
    assert!(image.contains("CMD [\"/service\", \"healthcheck\"]"));
    for service in crate::settings::SERVICES {
        assert!(file.contains(&format!("-p {service}-svc ")), "{service}");
    }
}
