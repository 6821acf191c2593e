//! Invariants of ARCHITECTURE.md that can be read off the text.

use std::fs;
use std::path::{Path, PathBuf};

use tests::process::repository;

const SERVICES: [&str; 6] =
    ["registry-svc", "scheduler-svc", "worker-svc", "gateway-svc", "connector-svc", "sink-svc"];
const CRATES: [&str; 11] = [
    "proto",
    "mesh",
    "registry-svc",
    "scheduler-svc",
    "worker-svc",
    "gateway-svc",
    "connector-svc",
    "sink-svc",
    "cli",
    "bench",
    "tests",
];

/// A text file of the repository, by its path in it.
struct Text {
    path: String,
    content: String,
}

impl Text {
    fn is_in(&self, folders: &[&str]) -> bool {
        folders.iter().any(|folder| self.path.starts_with(folder))
    }

    /// Without the unit tests at its end.
    fn without_tests(mut self) -> Self {
        let end = self.content.find("#[cfg(test)]\nmod tests").unwrap_or(self.content.len());
        self.content.truncate(end);
        self
    }

    /// The lines that hold one of these, each with its place.
    fn lines_with(&self, needles: &[&str]) -> Vec<String> {
        let lines = self.content.lines().enumerate();
        let found = lines.filter(|(_, line)| needles.iter().any(|needle| line.contains(needle)));
        found.map(|(number, line)| format!("{}:{}: {}", self.path, number + 1, line.trim())).collect()
    }
}

/// The files below these folders whose names end so.
fn texts(folders: &[&str], endings: &[&str]) -> Vec<Text> {
    let root = repository();
    let mut paths = Vec::new();
    for folder in folders {
        collect(&root.join(folder), &mut paths);
    }
    paths.sort();
    let wanted = |path: &PathBuf| endings.iter().any(|ending| path.to_string_lossy().ends_with(ending));
    let texts: Vec<_> = paths
        .into_iter()
        .filter(wanted)
        .filter_map(|path| {
            let content = fs::read_to_string(&path).ok()?;
            Some(Text { path: path.strip_prefix(&root).ok()?.to_string_lossy().into_owned(), content })
        })
        .collect();
    assert!(!texts.is_empty(), "nothing to look at in {folders:?}");
    texts
}

fn collect(path: &Path, paths: &mut Vec<PathBuf>) {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if path.is_dir() {
        if matches!(name, "target" | "node_modules" | ".git" | ".funless") {
            return;
        }
        for entry in fs::read_dir(path).expect("a folder of the repository").flatten() {
            collect(&entry.path(), paths);
        }
    } else {
        paths.push(path.to_owned());
    }
}

fn rust() -> Vec<Text> {
    texts(&CRATES, &[".rs"])
}

/// What runs: without the crates' tests, which do things their own way.
fn shipped() -> impl Iterator<Item = Text> {
    rust().into_iter().filter(|text| !text.path.contains("tests/") && !text.path.ends_with("tests.rs"))
}

#[track_caller]
fn assert_none(rule: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
}

#[test]
fn a_main_is_short() {
    let mains = SERVICES.map(|service| format!("{service}/src/main.rs"));
    let long = rust().into_iter().filter(|text| mains.contains(&text.path));
    let long = long.filter(|text| text.content.lines().count() >= 40).map(|text| text.path);
    assert_none("src/main.rs of a service has under 40 lines", long.collect());
}

#[test]
fn every_service_has_the_same_skeleton() {
    let files = ["main.rs", "lib.rs", "config.rs", "app.rs"];
    let expected = SERVICES.iter().flat_map(|service| files.map(|file| format!("{service}/src/{file}")));
    assert_none("is missing", expected.filter(|file| !repository().join(file).is_file()).collect());
}

#[test]
fn no_file_is_a_warehouse() {
    let sizes = rust().into_iter().map(|text| (text.content.lines().count(), text.path));
    let large = sizes.filter(|(lines, _)| *lines > 500).map(|(lines, path)| format!("{path}: {lines} lines"));
    assert_none("a file has at most 500 lines", large.collect());
}

#[test]
fn only_the_stores_know_sql() {
    let stores = [
        "registry-svc/src/store",
        "connector-svc/src/journal",
        "sink-svc/src/outbox",
        "mesh/src/database",
        "mesh/src/testing",
    ];
    let elsewhere = shipped().filter(|text| !text.is_in(&stores));
    let found = elsewhere.flat_map(|text| text.lines_with(&["sea_orm", "sqlx::"]));
    assert_none("only the stores know SQL", found.collect());
}

#[test]
fn only_the_gateways_rest_knows_http_statuses() {
    // The gateway counts them, the admin endpoints are for load balancers, the rest are clients.
    let allowed = [
        "gateway-svc/src/rest",
        "gateway-svc/src/metrics.rs",
        "mesh/src/admin.rs",
        "sink-svc/src/kinds",
        "cli/",
        "bench/",
    ];
    let elsewhere = shipped().filter(|text| !text.is_in(&allowed));
    let found = elsewhere.flat_map(|text| text.lines_with(&["StatusCode"]));
    assert_none("only gateway-svc/src/rest knows HTTP statuses", found.collect());
}

#[test]
fn the_policies_and_the_cluster_do_no_io() {
    let pure = ["scheduler-svc/src/policy", "scheduler-svc/src/cluster"];
    let io = ["tokio::net", "tokio::fs", "std::fs", "std::net::Tcp", "Instant::now", "SystemTime::now"];
    let texts = shipped().filter(|text| text.is_in(&pure)).map(Text::without_tests);
    let found = texts.flat_map(|text| text.lines_with(&io));
    assert_none("policy/ and cluster.rs do no IO and take `now` as an argument", found.collect());
}

#[test]
fn a_service_knows_another_only_through_proto() {
    let mut found = Vec::new();
    for service in SERVICES {
        let manifest = texts(&[service], &["Cargo.toml"]).remove(0);
        let others: Vec<_> = SERVICES.into_iter().filter(|other| *other != service).collect();
        found.extend(manifest.lines_with(&others));
    }
    assert_none("no service depends on another's crate", found);
    let shared = texts(&["mesh", "proto"], &["Cargo.toml"]);
    let found = shared.iter().flat_map(|manifest| manifest.lines_with(&SERVICES));
    assert_none("mesh and proto depend on no service", found.collect());
}

#[test]
fn nothing_names_the_machine_that_it_was_written_on() {
    let endings = [".rs", ".toml", ".md", ".proto", ".json", ".yaml", ".yml", ".source"];
    // In pieces, so as not to find themselves.
    let homes = [["/wo", "rk/"], ["/ro", "ot/"], ["/ho", "me/"]].map(|pieces| pieces.concat());
    let homes = homes.each_ref().map(String::as_str);
    let found = texts(&["."], &endings).into_iter().flat_map(|text| text.lines_with(&homes));
    assert_none("no path of a developer's machine", found.collect());
}

#[test]
fn the_readme_starts_with_the_two_commands() {
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    for command in ["cargo run --release --bin fl -- up --demo", "scripts/test"] {
        assert!(readme.contains(command), "README.md does not say {command:?}");
    }
    for program in ["scripts/test", "scripts/chaos", ".ci/run"] {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(repository().join(program)).unwrap().permissions().mode();
        assert_ne!(mode & 0o111, 0, "{program} cannot be executed");
    }
}
