//! Functions from the templates, made, built and invoked as a user does it.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use axum::Router;
use axum::routing::get;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::fl::{Printed, fl_in};
use tests::process::repository;
use tests::{Client, Mesh};
use tokio::net::TcpListener;
use tokio::sync::OnceCell;

/// The templates whose toolchains `scripts/test` installs, and which run on a worker.
const TEMPLATES: &[&str] = &["rust", "rust-fl-wasm-rs", "js", "ts", "assemblyscript", "c", "zig"];

/// Where the functions are: below the packages of npm, as if `npm install` had run. They are built once, for both shapes.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let packages = repository().join("target/npm");
    FOLDER
        .get_or_init(|| {
            assert!(
                packages.join("node_modules/.bin/asc").exists(),
                "run scripts/test, which installs the compilers"
            );
            tempfile::tempdir_in(&packages).expect("a temporary folder")
        })
        .path()
}

/// The toolchains that `scripts/test` installs. What was compiled for other functions is used again.
fn environment() -> Vec<(&'static str, OsString)> {
    let tools = repository().join("target/tools");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = [tools.join("python/bin")].into_iter().chain(std::env::split_paths(&path));
    vec![
        ("PATH", std::env::join_paths(folders).expect("paths without colons")),
        ("ZIG_GLOBAL_CACHE_DIR", tools.join("zig").into_os_string()),
        ("CARGO_TARGET_DIR", repository().join("target/guests/build").into_os_string()),
    ]
}

async fn run(mesh: &Mesh, user: &Client, folder: &Path, arguments: &[&str]) -> Printed {
    fl_in(mesh, user, folder, &environment(), arguments).await
}

async fn ok(mesh: &Mesh, user: &Client, folder: &Path, arguments: &[&str]) -> String {
    let printed = run(mesh, user, folder, arguments).await;
    assert!(printed.success, "fl {arguments:?} in {}: {}", folder.display(), printed.err);
    printed.out
}

pub async fn functions_of_all_languages_run(mesh: &Mesh) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("a bound address"));
    let router = Router::new().route("/", get(async || "here"));
    let server = tokio::spawn(async { axum::serve(listener, router).await });

    let user = mesh.user();
    user.create_module("languages").await;
    build_all(mesh, &user).await;
    for template in TEMPLATES {
        let name = template.replace('-', "_");
        let folder = folder().join(&name);
        let wasm = format!("{name}.wasm");
        ok(mesh, &user, &folder, &["fn", "upload", &name, &wasm, "-m", "languages"]).await;
        let cases = fs::read(folder.join("tests/hello.json")).expect("cases");
        let cases: Vec<Value> = serde_json::from_slice(&cases).expect("JSON");
        assert!(cases.len() > 1, "{template}");
        for case in cases {
            let answer = user.invoke("languages", &name, case["args"].clone()).await;
            match case["error"].as_str() {
                Some(error) => assert!(answer.expect(422).detail().contains(error), "{template}: {case}"),
                None => assert_eq!(answer.expect(200).json()["data"], case["result"], "{template}"),
            }
        }
        let called = user.result("languages", &name, json!({ "name": "Ada", "url": url })).await;
        assert_eq!(called, json!({ "payload": "Hello Ada!", "status": 200 }), "{template}");
        let log = ok(mesh, &user, &folder, &["fn", "logs", &name, "-m", "languages"]).await;
        assert!(log.contains("greeting Ada"), "{template}: {log}");
    }
    server.abort();
    user.delete("/v1/fn/languages").await.expect(204);
}

/// Makes a function from each template, and builds it.
async fn build_all(mesh: &Mesh, user: &Client) {
    static BUILT: OnceCell<()> = OnceCell::const_new();
    let build = async || {
        for template in TEMPLATES {
            let name = template.replace('-', "_");
            let made = ok(mesh, user, folder(), &["fn", "new", &name, "--lang", template]).await;
            assert_eq!(made, format!("Function \"{name}\" created!"));
            let folder = folder().join(&name);
            let built = ok(mesh, user, &folder, &["fn", "build"]).await;
            let expected =
                format!("Building {name} into a wasm binary...\n\nSuccessfully built {name}.wasm 🥳🥳");
            assert_eq!(built, expected);
            let bytes = fs::metadata(folder.join(format!("{name}.wasm"))).expect("a binary").len();
            let limit = if matches!(*template, "js" | "ts") { 1 << 20 } else { 128 << 10 };
            assert!(bytes < limit, "{template}: {bytes} bytes");
        }
    };
    BUILT.get_or_init(build).await;
}

/// `function.toml` says everything; what a build needs and lacks is named.
pub async fn a_project_is_created_and_updated(mesh: &Mesh) {
    let user = mesh.user();
    user.create_module("projects").await;
    let home = tempfile::tempdir().expect("a temporary folder");
    ok(mesh, &user, home.path(), &["fn", "new", "greet", "-l", "javascript"]).await;
    let project = home.path().join("greet");
    let manifest = "name = \"greet\"\nmodule = \"projects\"\n[metadata]\ntag = \"edge\"\n\
                    [[sinks]]\ntype = \"webhook\"\nparams = { url = \"http://127.0.0.1:9/\" }\n";
    fs::write(project.join("function.toml"), manifest).expect("written");
    let created = ok(mesh, &user, &project, &["fn", "create"]).await;
    assert_eq!(created, "Creating greet function...\n\nSuccessfully created function projects/greet.");
    let get = async || user.get("/v1/fn/projects/greet").await.expect(200).json()["data"].take();
    let function = get().await;
    assert_eq!(function["metadata"]["tag"], "edge", "{function}");
    let again = run(mesh, &user, &project, &["fn", "create"]).await;
    assert!(again.err.ends_with("replace it with `fl fn update`\nfl: error: Conflict"), "{}", again.err);

    let source = fs::read_to_string(project.join("index.js")).expect("a source");
    fs::write(project.join("index.js"), source.replace("Hello", "Good day")).expect("written");
    fs::write(project.join("function.toml"), "name = \"greet\"\nmodule = \"projects\"\n").expect("written");
    let updated = ok(mesh, &user, &project, &["fn", "update"]).await;
    assert_eq!(updated, "Updating greet function...\n\nSuccessfully updated function projects/greet 👌");
    let result = user.result("projects", "greet", json!({ "name": "Ada" })).await;
    assert_eq!(result, json!({ "payload": "Good day Ada!" }));
    let sinks = ok(mesh, &user, home.path(), &["sinks", "list", "-m", "projects"]).await;
    assert!(!sinks.contains("webhook"), "the manifest has no sinks any more: {sinks}");

    fs::write(project.join("function.toml"), "name = \"greet\"\ncolour = 1\n").expect("written");
    let wrong = run(mesh, &user, &project, &["fn", "update"]).await;
    assert!(wrong.err.contains("function.toml:2: colour: unknown field `colour`"), "{}", wrong.err);
    let tag = run(mesh, &user, &project, &["fn", "update", "--tag", "t"]).await;
    assert!(tag.err.contains("--tag needs FUNCTION and FILE"), "{}", tag.err);
    user.delete("/v1/fn/projects").await.expect(204);
}
