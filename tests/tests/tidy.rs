//! Checks invariants of ARCHITECTURE.md in the source text.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use tests::process::repository;

const SERVICES: [&str; 6] =
    ["registry-svc", "scheduler-svc", "worker-svc", "gateway-svc", "connector-svc", "sink-svc"];
const CRATES: [&str; 12] = [
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
    "xtask",
];

/// A text file and its path in the repository.
struct Text {
    path: String,
    content: String,
}

impl Text {
    fn is_in(&self, folders: &[&str]) -> bool {
        folders.iter().any(|folder| self.path.starts_with(folder))
    }

    /// Removes the unit tests at the end.
    fn without_tests(mut self) -> Self {
        let end = self.content.find("#[cfg(test)]\nmod tests").unwrap_or(self.content.len());
        self.content.truncate(end);
        self
    }

    /// The lines that contain one of these, each with its location.
    fn lines_with(&self, needles: &[&str]) -> Vec<String> {
        let lines = self.content.lines().enumerate();
        let found = lines.filter(|(_, line)| needles.iter().any(|needle| line.contains(needle)));
        found.map(|(number, line)| format!("{}:{}: {}", self.path, number + 1, line.trim())).collect()
    }
}

/// The files in these folders, recursively, whose names have one of these endings.
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
    assert!(!texts.is_empty(), "no files in {folders:?}");
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

/// The sources without tests, which are exempt from some rules.
fn shipped() -> impl Iterator<Item = Text> {
    rust().into_iter().filter(|text| !text.path.contains("tests/") && !text.path.ends_with("tests.rs"))
}

#[track_caller]
fn assert_none(rule: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
}

#[test]
fn main_files_are_short() {
    let mains = SERVICES.map(|service| format!("{service}/src/main.rs"));
    let long = rust().into_iter().filter(|text| mains.contains(&text.path));
    let long = long.filter(|text| text.content.lines().count() >= 40).map(|text| text.path);
    assert_none("src/main.rs of a service must have fewer than 40 lines", long.collect());
}

#[test]
fn every_service_has_the_same_skeleton() {
    let files = ["main.rs", "lib.rs", "config.rs", "app.rs"];
    let expected = SERVICES.iter().flat_map(|service| files.map(|file| format!("{service}/src/{file}")));
    assert_none("files are missing", expected.filter(|file| !repository().join(file).is_file()).collect());
}

#[test]
fn files_are_not_too_long() {
    let sizes = rust().into_iter().map(|text| (text.content.lines().count(), text.path));
    let large = sizes.filter(|(lines, _)| *lines > 500).map(|(lines, path)| format!("{path}: {lines} lines"));
    assert_none("a file must have at most 500 lines", large.collect());
}

#[test]
fn only_the_stores_use_sql() {
    let stores = [
        "registry-svc/src/store",
        "connector-svc/src/journal",
        "sink-svc/src/outbox",
        "mesh/src/database",
        "mesh/src/testing",
    ];
    let elsewhere = shipped().filter(|text| !text.is_in(&stores));
    let found = elsewhere.flat_map(|text| text.lines_with(&["sea_orm", "sqlx::"]));
    assert_none("only the stores may use SQL", found.collect());
}

#[test]
fn only_the_rest_gateway_uses_http_statuses() {
    // The gateway's metrics count statuses, the admin endpoints are for load balancers, gRPC ports refuse HTTP/1 in its
    // own words, and the others are HTTP clients.
    let allowed = [
        "gateway-svc/src/rest",
        "gateway-svc/src/metrics.rs",
        "mesh/src/admin.rs",
        "mesh/src/http2.rs",
        "sink-svc/src/kinds",
        "cli/",
        "bench/",
    ];
    let elsewhere = shipped().filter(|text| !text.is_in(&allowed));
    let found = elsewhere.flat_map(|text| text.lines_with(&["StatusCode"]));
    assert_none("only gateway-svc/src/rest may use HTTP statuses", found.collect());
}

#[test]
fn only_the_egress_policy_connects_on_behalf_of_users() {
    let services = ["worker-svc/src", "connector-svc/src", "sink-svc/src"];
    let connecting = [
        "Client::builder",
        "reqwest::Client",
        "TcpStream::connect",
        "TcpSocket",
        "lookup_host",
        "ToSocketAddrs",
    ];
    let texts = shipped().filter(|text| text.is_in(&services)).map(Text::without_tests);
    let found = texts.flat_map(|text| text.lines_with(&connecting));
    assert_none("only mesh/src/egress/ may resolve names and connect on behalf of users", found.collect());
}

#[test]
fn policies_and_cluster_do_no_io() {
    let pure = ["scheduler-svc/src/policy", "scheduler-svc/src/cluster"];
    let io = ["tokio::net", "tokio::fs", "std::fs", "std::net::Tcp", "Instant::now", "SystemTime::now"];
    let texts = shipped().filter(|text| text.is_in(&pure)).map(Text::without_tests);
    let found = texts.flat_map(|text| text.lines_with(&io));
    assert_none("policy/ and cluster must do no IO and take `now` as an argument", found.collect());
}

#[test]
fn services_depend_on_each_other_only_through_proto() {
    let mut found = Vec::new();
    for service in SERVICES {
        let manifest = texts(&[service], &["Cargo.toml"]).remove(0);
        let others: Vec<_> = SERVICES.into_iter().filter(|other| *other != service).collect();
        found.extend(manifest.lines_with(&others));
    }
    assert_none("no service may depend on another's crate", found);
    let shared = texts(&["mesh", "proto"], &["Cargo.toml"]);
    let found = shared.iter().flat_map(|manifest| manifest.lines_with(&SERVICES));
    assert_none("mesh and proto may not depend on services", found.collect());
}

#[test]
fn no_file_contains_paths_of_a_developers_machine() {
    let endings = [".rs", ".toml", ".md", ".proto", ".json", ".yaml", ".yml", ".source"];
    // In pieces, so that this file does not contain them.
    let homes = [["/wo", "rk/"], ["/ro", "ot/"], ["/ho", "me/"]].map(|pieces| pieces.concat());
    let homes = homes.each_ref().map(String::as_str);
    let found = texts(&["."], &endings).into_iter().flat_map(|text| text.lines_with(&homes));
    assert_none("files must not contain paths of a developer's machine", found.collect());
}

#[test]
fn the_readme_contains_the_main_commands() {
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    for command in ["cargo run --release --bin fl -- up --demo", "scripts/test"] {
        assert!(readme.contains(command), "README.md does not contain {command:?}");
    }
    for program in ["scripts/test", "scripts/chaos", "scripts/images", ".ci/run"] {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(repository().join(program)).unwrap().permissions().mode();
        assert_ne!(mode & 0o111, 0, "{program} is not executable");
    }
}

/// The paths in the crate that a file of `module` uses.
fn uses(module: &[String], text: &str) -> Vec<Vec<String>> {
    let code: Vec<_> = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let code = code.join("\n");
    let mut found = Vec::new();
    for (start, prefix) in ["crate::", "super::"].iter().flat_map(|prefix| code.match_indices(prefix)) {
        let before = code[..start].chars().next_back();
        if before.is_some_and(|character| character.is_alphanumeric() || matches!(character, '_' | ':')) {
            continue;
        }
        let mut path = if prefix == "crate::" { Vec::new() } else { module.to_vec() };
        let mut rest = &code[start..];
        while let Some(after) = rest.strip_prefix("super::") {
            path.pop();
            rest = after;
        }
        rest = rest.strip_prefix("crate::").unwrap_or(rest);
        let is_name = |character: char| character.is_alphanumeric() || character == '_';
        // Each branch of `{a::b, c}` is a separate path.
        let list = rest.strip_prefix('{').and_then(|list| list.split('}').next());
        let names = list.map_or_else(|| vec![rest], |list| list.split(',').map(str::trim).collect());
        for name in names {
            let mut path = path.clone();
            path.extend(name.split("::").map_while(|part| {
                let end = part.find(|character| !is_name(character)).unwrap_or(part.len());
                (end > 0).then(|| part[..end].to_owned())
            }));
            found.push(path);
        }
    }
    found
}

/// Sibling modules must not depend on each other cyclically. A module and its submodules count as one.
#[test]
fn modules_have_no_cyclic_dependencies() {
    let mut circles = Vec::new();
    for name in CRATES.into_iter().filter(|name| *name != "proto") {
        let root = format!("{name}/src");
        let files = texts(&[&root], &[".rs"]).into_iter().filter(|text| !text.path.ends_with("tests.rs"));
        let module_of = |path: &str| -> Vec<String> {
            let path = path.trim_start_matches(&root).trim_end_matches(".rs").trim_end_matches("/mod");
            let parts = path.split('/').filter(|part| !part.is_empty() && !matches!(*part, "lib" | "main"));
            parts.map(str::to_owned).collect()
        };
        // Modules that are compiled only for tests may use anything.
        let shipped =
            files.filter(|text| !text.path.ends_with("policy/arbitrary.rs")).map(Text::without_tests);
        let modules: Vec<_> = shipped.map(|text| (module_of(&text.path), text.content)).collect();
        let is_module = |path: &[String]| modules.iter().any(|(module, _)| module.as_slice() == path);
        let mut edges = BTreeMap::<Vec<String>, BTreeSet<Vec<String>>>::new();
        for (module, text) in &modules {
            for mut used in uses(module, text) {
                while !used.is_empty() && !is_module(&used) {
                    used.pop();
                }
                let shared = module.iter().zip(&used).take_while(|(a, b)| a == b).count();
                if shared < module.len() && shared < used.len() {
                    used.truncate(shared + 1);
                    edges.entry(module[..=shared].to_vec()).or_default().insert(used);
                }
            }
        }
        let reaches = |from: &Vec<String>, to: &Vec<String>| {
            let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
            while let Some(module) = next.pop() {
                for used in edges.get(module).into_iter().flatten() {
                    if used == to {
                        return true;
                    }
                    if seen.insert(used) {
                        next.push(used);
                    }
                }
            }
            false
        };
        let in_circle = edges.keys().filter(|module| reaches(module, module));
        circles.extend(in_circle.map(|module| format!("{root}/{}", module.join("/"))));
    }
    assert_none("modules with cyclic dependencies", circles);
}
