//! The systemd units of single services.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;
use tests::process::workspace_binary;

use crate::settings::{SERVICES, Settings};
use crate::systemd::{MOST_EXPOSED, read, said, systemd_analyze, values};

const EDGE_WORKER: &str = "funless-edge-worker@.service";
const SANDBOX: &str = "funless-.service.d/sandbox.conf";
/// Directives that the units have themselves.
const OWN: [&str; 3] = ["ExecStart", "EnvironmentFile", "StateDirectory"];

/// The units and the services that they run.
fn units() -> Vec<(String, &'static str)> {
    let units = SERVICES.into_iter().map(|service| (format!("funless-{service}.service"), service));
    units.chain([(EDGE_WORKER.to_owned(), "worker")]).collect()
}

/// Copies a unit and its sandbox, and replaces the program with the one of this workspace.
fn installed(unit: &str, service: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let sandbox = folder.path().join(SANDBOX);
    fs::create_dir_all(sandbox.parent().expect("a folder")).expect("a folder");
    fs::write(sandbox, read(SANDBOX)).expect("a file");
    let program = workspace_binary(&format!("{service}-svc")).display().to_string();
    let text = read(unit);
    let command = format!("ExecStart={service}-svc\n");
    assert!(text.contains(&command), "{unit}");
    let path = folder.path().join(unit);
    fs::write(&path, text.replace(&command, &format!("ExecStart={program}\n"))).expect("a file");
    (folder, path)
}

#[test]
fn systemd_accepts_the_units_and_their_sandbox() {
    for (unit, service) in units() {
        let (_folder, path) = installed(&unit, service);
        let Some(output) = systemd_analyze(&["verify", "--man=no", "--recursive-errors=no"], &path) else {
            return;
        };
        assert!(output.status.success() && said(&output).is_empty(), "{unit}: {}", said(&output));
        let threshold = format!("--threshold={MOST_EXPOSED}");
        let output =
            systemd_analyze(&["security", "--offline=true", &threshold], &path).expect("it is there");
        assert!(output.status.success(), "{unit}: {}", said(&output));
    }
}

#[test]
fn services_accept_what_the_units_say() {
    for (unit, service) in units() {
        let text = read(&unit);
        let mut settings = Settings::default();
        for variable in values(&text, "Environment") {
            let (name, value) = variable.split_once('=').expect("a value");
            let value = value.replace("%i", "kitchen").replace("%S", "/var/lib").replace("%C", "/var/cache");
            settings.0.insert(name.to_owned(), value);
        }
        let credentials: BTreeSet<_> = values(&text, "LoadCredential")
            .into_iter()
            .map(|credential| format!("%d/{}", credential.split(':').next().expect("a name")))
            .collect();
        assert_eq!(credentials, settings.files().map(str::to_owned).collect(), "{unit}");
        if unit == EDGE_WORKER {
            // It has no admin port, which the check would ask.
            settings.0.insert("FUNLESS_WORKER_SERVER__ADMIN_LISTEN".into(), "127.0.0.1:4103".into());
            // What its comment says of its environment file.
            let comment = text.lines().filter_map(|line| line.strip_prefix("#   "));
            let pairs = comment.filter_map(|line| line.split_once('='));
            settings.0.extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
            assert!(settings.value(service, "SCHEDULERS").is_some(), "{settings:?}");
        }
        settings.check(service, &unit);
    }
}

/// Directives and their values.
fn directives(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut directives = BTreeMap::<_, BTreeSet<_>>::new();
    for (name, value) in
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='))
    {
        directives.entry(name.to_owned()).or_default().insert(value.to_owned());
    }
    directives
}

#[test]
fn all_units_have_the_same_sandbox() {
    let unit = read("funless.service");
    let (_, service) = unit.split_once("[Service]").expect("a section");
    let (service, _) = service.split_once("[Install]").expect("a section");
    let mut whole = directives(service);
    whole.retain(|name, _| !OWN.contains(&name.as_str()));
    let mut shared = directives(&read(SANDBOX));
    // Only services of their own have a cache directory.
    assert_eq!(shared.remove("CacheDirectoryMode"), Some(BTreeSet::from(["0700".to_owned()])));
    assert_eq!(shared, whole);
}
