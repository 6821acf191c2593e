//! The compose file, and the files that it mounts.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::Value;
use tests::process::{installed, repository};

use crate::kubernetes::{list, text};
use crate::settings::{SERVICES, Settings};
use crate::tools;

const FOLDER: &str = "deploy/compose";
const SECRETS: &str = "/run/secrets/";

fn compose() -> Value {
    let file = fs::read_to_string(repository().join(FOLDER).join("compose.yaml")).expect("a file");
    tools::validate("compose", &file)
}

fn settings(service: &Value) -> Settings {
    let variables = service["environment"].as_object().expect("variables");
    Settings(variables.iter().map(|(name, value)| (name.clone(), text(value).to_owned())).collect())
}

#[test]
fn services_accept_what_compose_says() {
    let compose = compose();
    for service in SERVICES {
        let spec = &compose["services"][service];
        let settings = settings(spec);
        settings.check(service, "compose.yaml");
        let secrets: BTreeSet<_> = list(&spec["secrets"]).iter().map(text).collect();
        let read: BTreeSet<_> = settings.files().filter_map(|path| path.strip_prefix(SECRETS)).collect();
        assert_eq!(secrets, read, "{service} gets the secrets that it reads");
        for published in list(&spec["ports"]).iter().map(text) {
            let port = published.rsplit(':').next().expect("a port").parse().expect("a port");
            assert!(settings.ports(service).contains(&port), "{service}: {published}");
        }
        // Calls go to the names and ports of the services.
        for address in settings.0.values().flat_map(|value| value.split("http://").skip(1)) {
            let (host, port) = address.trim_end_matches(['"', ']']).split_once(':').expect("a port");
            let port: u16 = port.parse().expect("a port");
            let callee = &compose["services"][host];
            assert!(callee.is_object(), "{service}: {address}");
            if SERVICES.contains(&host) {
                assert!(self::settings(callee).ports(host).contains(&port), "{service}: {address}");
            }
        }
        assert_eq!(spec["read_only"], true, "{service}");
        assert_eq!(spec["healthcheck"]["test"], serde_json::json!(["CMD", "/service", "healthcheck"]));
        assert_eq!(spec["build"]["args"]["SERVICE"], format!("{service}-svc"));
    }
}

#[test]
fn everything_that_compose_starts_is_checked() {
    let compose = compose();
    for (name, service) in compose["services"].as_object().expect("services") {
        let health = &service["healthcheck"];
        let expected = name == "jaeger" || health["test"].is_array();
        assert!(expected, "{name} has no health check");
        for dependency in service["depends_on"].as_object().into_iter().flatten() {
            assert_eq!(dependency.1["condition"], "service_healthy", "{name}");
        }
        for published in list(&service["ports"]).iter().map(text) {
            assert!(published.starts_with("127.0.0.1:"), "{name}: {published} is open to the network");
        }
    }
}

#[test]
fn mounted_files_exist() {
    let compose = compose();
    let folder = repository().join(FOLDER);
    let services = compose["services"].as_object().expect("services");
    let volumes = services.values().flat_map(|service| list(&service["volumes"]).iter().map(text));
    let files: Vec<_> = volumes.filter(|volume| volume.starts_with('.')).collect();
    assert!(!files.is_empty());
    for file in files {
        let path = folder.join(file.split(':').next().expect("a path"));
        assert!(path.exists(), "{}", path.display());
    }
    let output = Command::new(installed("promtool", &[]))
        .args(["check", "config", "--syntax-only", "prometheus.yml"])
        .current_dir(&folder)
        .output()
        .expect("promtool runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn prometheus_scrapes_the_admin_ports() {
    let compose = compose();
    let file = fs::read_to_string(repository().join(FOLDER).join("prometheus.yml")).expect("a file");
    let targets = file.lines().find(|line| line.contains("targets:")).expect("targets");
    for service in SERVICES {
        let ports = settings(&compose["services"][service]).ports(service);
        let is_target = |port: &u16| targets.contains(&format!("{service}:{port}"));
        assert!(ports.iter().any(is_target), "{service}: {ports:?}");
    }
    assert!(file.contains("job_name: funless\n"), "the rules depend on the name");
}

#[test]
fn all_secrets_are_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("make-secrets");
    fs::copy(repository().join(FOLDER).join("make-secrets"), &script).expect("a file");
    let make = || {
        assert!(Command::new("sh").arg(&script).status().expect("it runs").success());
        let secrets = compose()["secrets"].as_object().expect("secrets").clone();
        let read = |secret: &Value| {
            let path = folder.path().join(text(&secret["file"]));
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        secrets.values().map(read).collect::<Vec<_>>()
    };
    let made = make();
    assert!(made.iter().all(|secret| secret.trim().len() >= 64), "{made:?}");
    assert_eq!(made, make(), "secrets that are there are kept");
}
