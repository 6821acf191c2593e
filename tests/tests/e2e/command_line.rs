//! The command `fl`.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tests::fl::{fl, run, start};
use tests::process::{Signal, free_port};
use tests::{Client, Mesh, guests};

/// Long enough for a few refreshes of the list of workers.
const SOON: Duration = Duration::from_secs(20);

pub async fn functions_from_the_command_line(mesh: &Mesh) {
    let user = mesh.user();
    user.create_module("typed").await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str, code: Vec<u8>| {
        let path = folder.path().join(name);
        std::fs::write(&path, code).expect("a file");
        path.to_string_lossy().into_owned()
    };
    let (hello, echo) = (file("hello.wasm", guests::hello()), file("echo.wasm", guests::echo()));

    let ok = async |arguments: &[&str]| {
        let printed = fl(mesh, &user, arguments).await;
        assert!(printed.success, "fl {arguments:?}: {}", printed.err);
        printed.out
    };
    ok(&["fn", "upload", "greet", &hello, "--module", "typed"]).await;
    let invoke = ["fn", "invoke", "greet", "--module", "typed", "--args", r#"{"name":"Ada"}"#];
    assert_eq!(ok(&invoke).await, r#"{"payload":"Hello Ada!"}"#);
    assert_eq!(ok(&["mod", "get", "typed"]).await, "Module: typed\nFunctions:\ngreet");
    ok(&["fn", "upload", "greet", &echo, "--module", "typed", "--update"]).await;
    assert_eq!(ok(&invoke).await, r#"{"name":"Ada"}"#);
    ok(&["fn", "delete", "greet", "--module", "typed"]).await;
    assert!(!fl(mesh, &user, &invoke).await.success);
    user.delete("/v1/fn/typed").await.expect(204);
}

pub async fn modules_from_the_command_line(mesh: &Mesh) {
    let user = mesh.admin().create_subject("typist").await;
    let ok = async |arguments: &[&str]| {
        let printed = fl(mesh, &user, arguments).await;
        assert!(printed.success, "fl {arguments:?}: {}", printed.err);
        printed.out
    };
    assert_eq!(ok(&["mod", "list"]).await, "_");
    ok(&["mod", "create", "typed_first"]).await;
    assert_eq!(ok(&["mod", "list"]).await, "_\ntyped_first");
    ok(&["mod", "update", "typed_first", "typed_second"]).await;
    assert_eq!(ok(&["mod", "list"]).await, "_\ntyped_second");
    assert_eq!(ok(&["mod", "get", "typed_second"]).await, "Module: typed_second\nFunctions:");
    ok(&["mod", "delete", "typed_second"]).await;
    assert_eq!(ok(&["mod", "list"]).await, "_");
}

/// Runs a command, asserts that it succeeded, and returns its output.
async fn ok(mesh: &Mesh, user: &Client, arguments: &[&str]) -> String {
    let printed = fl(mesh, user, arguments).await;
    assert!(printed.success, "fl {arguments:?}: {}", printed.err);
    printed.out
}

/// Writes a file with this name to the folder and returns its path.
fn written(folder: &Path, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).expect("a file");
    path.to_string_lossy().into_owned()
}

pub async fn scripts_from_the_command_line(mesh: &Mesh) {
    const SCRIPT: &str = "# everywhere\n- default:\n    - workers: \"*\"\n";
    let user = mesh.user();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let good = written(folder.path(), "good.yml", SCRIPT);
    let doubtful = written(folder.path(), "doubtful.yml", "- t:\n    - workers: [nobody]\n");
    let bad = written(folder.path(), "bad.yml", "- t:\n- u:\n    - workers: []\n");

    assert_eq!(ok(mesh, &user, &["script", "lint", &good]).await, format!("{good}: nothing is wrong"));
    let found = ok(mesh, &user, &["script", "lint", &doubtful]).await;
    assert!(found.starts_with(&format!("warning: {doubtful}:2:")) && found.contains("nobody"), "{found}");
    let found = fl(mesh, &user, &["script", "lint", &bad]).await;
    assert_eq!((found.code, found.out.lines().count()), (Some(1), 2), "{}", found.out);
    assert!(found.out.lines().all(|line| line.starts_with(&format!("error: {bad}:"))), "{}", found.out);

    assert_eq!(ok(mesh, &user, &["script", "create", "typed_s", &good]).await, "created typed_s");
    let listed = ok(mesh, &user, &["script", "list"]).await;
    let stored = user.get("/v1/scripts/app/typed_s").await.expect(200).json();
    let owner = stored["data"]["owner"].as_str().expect("it belongs to the user");
    let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert!(listed.lines().any(|line| cells(line) == ["typed_s", owner]), "{owner}: {listed}");
    assert_eq!(ok(mesh, &user, &["script", "get", "typed_s"]).await, SCRIPT.trim_end());
    let cases: [(&[&str], &str); 5] = [
        (&["script", "create", "typed_s", &good], "fl script delete typed_s"),
        (&["script", "create", "typed_t", &bad], "no_blocks"),
        (&["script", "create", "typed_t", "/there/is/none.yml"], "/there/is/none.yml"),
        (&["script", "get", "typed_t"], "fl script list"),
        (&["script", "delete", "typed_t"], "fl script list"),
    ];
    for (arguments, word) in cases {
        let printed = fl(mesh, &user, arguments).await;
        assert_eq!((printed.code, printed.out.as_str()), (Some(1), ""), "fl {arguments:?}");
        assert!(printed.err.contains(word), "fl {arguments:?}: {}", printed.err);
    }
    let warned = fl(mesh, &user, &["script", "create", "typed_d", &doubtful]).await;
    assert_eq!((warned.code, warned.out.as_str()), (Some(0), "created typed_d"));
    assert!(warned.err.starts_with("warning: ") && warned.err.contains("nobody"), "{}", warned.err);
    for name in ["typed_s", "typed_d"] {
        assert_eq!(ok(mesh, &user, &["script", "delete", name]).await, format!("deleted {name}"));
    }
}

/// Invocations with the function's own script, with another script and with none, and their explanations.
pub async fn placements_from_the_command_line(mesh: &Mesh) {
    let user = mesh.user();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let anywhere = written(folder.path(), "anywhere.yml", "- default:\n    - workers: \"*\"\n");
    let nowhere = written(folder.path(), "nowhere.yml", "- placed:\n    - workers: [nobody]\n");
    let echo = written(folder.path(), "echo.wasm", guests::echo());
    ok(mesh, &user, &["script", "create", "placed_anywhere", &anywhere]).await;
    ok(mesh, &user, &["script", "create", "placed_nowhere", &nowhere]).await;
    ok(mesh, &user, &["mod", "create", "placed"]).await;
    let upload =
        ["fn", "upload", "f", &echo, "-m", "placed", "--tag", "placed", "--script", "placed_nowhere"];
    ok(mesh, &user, &upload).await;
    let shown = user.get("/v1/fn/placed/f").await.expect(200).json();
    let metadata = serde_json::json!({
        "tag": "placed", "capacity": 64, "idempotent": false, "script": "placed_nowhere",
    });
    assert_eq!(shown["data"]["metadata"], metadata);

    let invoke = async |policy: &[&str]| {
        let mut arguments = vec!["fn", "invoke", "f", "-m", "placed", "--args", "[1.0]"];
        arguments.extend(policy);
        fl(mesh, &user, &arguments).await
    };
    let refused = invoke(&[]).await;
    assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""));
    assert!(refused.err.contains("no_valid_workers"), "{}", refused.err);
    let (_, id) = refused.err.rsplit_once("--decision ").expect("a hint with the decision's id");
    let why = ok(mesh, &user, &["script", "explain", "--decision", id.trim()]).await;
    assert!(why.contains("nobody") && why.contains("invalid") && why.contains("placed_nowhere"), "{why}");

    let quiet = invoke(&["--no-script"]).await;
    assert_eq!((quiet.code, quiet.out.as_str(), quiet.err.as_str()), (Some(0), "[1.0]", ""));
    let placed = invoke(&["--script", "placed_anywhere", "--decision"]).await;
    assert_eq!((placed.code, placed.out.as_str()), (Some(0), "[1.0]"));
    let id = placed.err.trim().strip_prefix("decision ").expect("the decision's id");
    let why = ok(mesh, &user, &["script", "explain", "placed_anywhere", "--decision", id]).await;
    assert!(why.contains("chosen") && why.contains(id), "{why}");
    let other = fl(mesh, &user, &["script", "explain", "placed_nowhere", "--decision", id]).await;
    assert!(other.code == Some(1) && other.err.contains("the script placed_anywhere"), "{}", other.err);
    let now =
        ok(mesh, &user, &["script", "explain", "placed_nowhere", "--function", "placed/f", "--json"]).await;
    let now: Value = serde_json::from_str(&now).expect("valid JSON");
    assert_eq!(
        (&now["data"]["refusal"], &now["data"]["decision_id"]),
        (&"no_valid_workers".into(), &"".into())
    );
    let decisions = ok(mesh, &user, &["script", "decisions", "--limit", "1000000"]).await;
    assert!(decisions.lines().any(|line| line.starts_with(id)), "{decisions}");

    let used = fl(mesh, &user, &["script", "delete", "placed_nowhere"]).await;
    assert!(used.code == Some(1) && used.err.contains("used by placed/f"), "{}", used.err);
    ok(mesh, &user, &["script", "delete", "placed_nowhere", "--force"]).await;
    let missing = invoke(&[]).await;
    assert!(missing.code == Some(1) && missing.err.contains("placed_nowhere"), "{}", missing.err);
    user.delete("/v1/fn/placed").await.expect(204);
    ok(mesh, &user, &["script", "delete", "placed_anywhere"]).await;
}

pub async fn workers_from_the_command_line(mesh: &Mesh) {
    let admin = mesh.admin();
    let table = ok(mesh, &admin, &["workers"]).await;
    assert!(table.starts_with("NAME") && table.lines().count() == 2, "{table}");
    let answer: Value =
        serde_json::from_str(&ok(mesh, &admin, &["workers", "--json"]).await).expect("valid JSON");
    let worker = &answer["data"]["workers"][0];
    let name = worker["name"].as_str().expect("a name");
    assert!(!name.is_empty() && table.contains(name), "{table}");
    assert!(worker["memory"]["total"].as_u64().is_some_and(|bytes| bytes > 0), "{worker}");

    let refused = fl(mesh, &mesh.user(), &["workers"]).await;
    assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""));
    assert!(refused.err.contains("administrator") && refused.err.contains("admin_token"), "{}", refused.err);

    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("log");
    let mut watching = start(mesh, &admin, &["workers", "--watch"], &log);
    watching.ready(SOON, async || table_count(&log) >= 2).await;
    watching.signal(Signal::INT);
    let ended = watching.ended(SOON).await;
    assert!(ended.success(), "{ended}: {}", watching.log());
    assert!(!watching.log().contains('\x1b'), "there are no escape sequences without a terminal");
}

/// The number of printed tables.
fn table_count(log: &Path) -> usize {
    std::fs::read_to_string(log).unwrap_or_default().matches("NAME").count()
}

pub async fn mistakes_are_explained(mesh: &Mesh) {
    let user = mesh.user();
    let hello = tests::process::repository().join("guest/hello.wasm").to_string_lossy().into_owned();
    let manifest = tests::process::repository().join("Cargo.toml").to_string_lossy().into_owned();
    let cases: [(&[&str], &str); 7] = [
        (&["fn", "invoke", "nobody_knows_it"], "see `fl fn list _`"),
        (&["fn", "invoke", "f", "--args", "{"], "JSON"),
        (&["fn", "upload", "f", "/there/is/no.wasm"], "/there/is/no.wasm"),
        (&["fn", "upload", "f", &manifest], "WebAssembly"),
        (&["fn", "upload", "a.b", &hello], "alphanumeric"),
        (&["mod", "create", "a/b"], "alphanumeric"),
        (&["mod", "delete", "_"], "default module"),
    ];
    for (arguments, word) in cases {
        let printed = fl(mesh, &user, arguments).await;
        assert_eq!(printed.code, Some(1), "fl {arguments:?}: {}", printed.out);
        assert!(printed.err.contains(word) && printed.out.is_empty(), "fl {arguments:?}: {}", printed.err);
    }

    let unknown = fl(mesh, &user, &["fn", "invoke", "nobody_knows_it"]).await;
    assert_eq!(unknown.err.lines().last(), Some("fl: error: Not Found"), "{}", unknown.err);

    let stranger = user.with_token(Some("nonsense"));
    let printed = fl(mesh, &stranger, &["mod", "list"]).await;
    assert!(!printed.success && printed.err.contains("token"), "{}", printed.err);
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let nowhere = run(&words("--host http://127.0.0.1:1 --token t mod list")).await;
    assert!(!nowhere.success && nowhere.err.contains("fl up"), "{}", nowhere.err);
    let nothing = run(&words("mod list")).await;
    assert!(!nothing.success && nothing.err.contains("fl up"), "{}", nothing.err);
    let data_dir = mesh.data_dir().to_string_lossy().into_owned();
    let (http, grpc) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
    let second = ["up", "--data-dir", &data_dir, "--http", &http, "--grpc", &grpc];
    let second = run(&second.map(str::to_owned)).await;
    assert!(!second.success && second.err.contains("another mesh runs"), "{}", second.err);
    let unknown = run(&words("mod lists")).await;
    assert_eq!(unknown.code, Some(2), "{}", unknown.err);
}
