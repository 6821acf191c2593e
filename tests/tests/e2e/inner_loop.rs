//! The inner loop of people who write functions: `fl fn run`, `fl fn test`, `fl fn dev`, `fl fn copy` and `fl bench`.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tests::fl::{Printed, fl, run_in, start};
use tests::process::{Running, Signal};
use tests::receiver::Receiver;
use tests::{Mesh, guests};

/// How long a save may take to be seen. Only one that is not seen takes so long.
const SAVE_TIMEOUT: Duration = Duration::from_secs(60);

/// A folder with a function of this module whose build copies `source.bin`.
fn project(module: &str, code: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let manifest = format!(
        "name = \"f\"\nmodule = \"{module}\"\n[build]\ncommand = \"cp source.bin f.wasm\"\noutput = \"f.wasm\"\n\
         [metadata]\ntag = \"inner\"\n"
    );
    write(folder.path(), "function.toml", manifest);
    write(folder.path(), "source.bin", code);
    folder
}

fn write(folder: &Path, file: &str, content: impl AsRef<[u8]>) -> String {
    let path = folder.join(file);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(&path, content).expect("a file");
    path.to_string_lossy().into_owned()
}

/// Runs `fl fn` in a folder, which is also the home directory, without a mesh.
async fn fl_fn(folder: &Path, arguments: &[&str]) -> Printed {
    let arguments: Vec<_> =
        std::iter::once("fn").chain(arguments.iter().copied()).map(str::to_owned).collect();
    run_in(folder, &arguments).await
}

pub async fn functions_run_without_a_mesh(_: &Mesh) {
    let folder = project("_", &guests::mirror());
    let folder = folder.path();
    let printed = fl_fn(folder, &["run", ".", "-i", r#"{ "b" : 1.0, "a":2}"#]).await;
    assert_eq!((printed.code, &*printed.out), (Some(0), r#"{"b":1.0,"a":2}"#), "{}", printed.err);

    let hello = write(folder, "hello.wasm", guests::hello());
    let printed = fl_fn(folder, &["run", &hello, "-a", "name=Ada", "--trace"]).await;
    assert_eq!((printed.code, &*printed.out), (Some(0), r#"{"payload":"Hello Ada!"}"#), "{}", printed.err);
    for word in ["worker ", "  compile ", "  run ", "peak_memory_bytes "] {
        assert!(printed.err.contains(word), "{word:?}: {}", printed.err);
    }
    let again = fl_fn(folder, &["run", &hello, "-a", "name=Ada", "--trace"]).await;
    assert!(again.err.contains("  load ") && !again.err.contains("  compile "), "{}", again.err);

    let logging = write(folder, "logging.wasm", guests::logging());
    let printed = fl_fn(folder, &["run", &logging, "-i", "\"said\""]).await;
    assert_eq!((&*printed.out, &*printed.err), ("\"said\"", "\"said\""));

    let receiver = Receiver::start().await;
    let caller = write(folder, "caller.wasm", guests::http_caller());
    let args = json!({ "url": receiver.url(), "method": "POST", "body": "1" }).to_string();
    let allowed = fl_fn(folder, &["run", &caller, "-i", &args]).await;
    assert!(allowed.success && allowed.out.contains(r#""status":200"#), "{} {}", allowed.out, allowed.err);
    let denied = fl_fn(folder, &["run", &caller, "-i", &args, "--strict"]).await;
    assert!(denied.code == Some(1) && denied.err.contains("cannot be reached"), "{}", denied.err);
}

pub async fn runs_that_fail_say_why(_: &Mesh) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let file = |name: &str, code: Vec<u8>| write(folder, name, code);
    let spinning = file("spinning.wasm", guests::spinning());
    let cases: [(&[&str], &str); 7] = [
        (&[&file("failing.wasm", guests::failing(b"no name"))], "fl: error: Error: no name"),
        (&[&file("trapping.wasm", guests::trapping())], "fl: error: the function trapped: "),
        (
            &[&spinning, "--timeout", "50ms"],
            "fl: error: the function ran longer than its time limit of 50 ms",
        ),
        (&[&file("text.wasm", b"hello".into())], "text.wasm is not WebAssembly"),
        (&["nothing.wasm"], "nothing.wasm"),
        (&[&spinning, "-i", "{"], "--input {: expected JSON"),
        (&["."], "function.toml"),
    ];
    for (arguments, expected) in cases {
        let arguments: Vec<_> = std::iter::once("run").chain(arguments.iter().copied()).collect();
        let printed = fl_fn(folder, &arguments).await;
        assert_eq!((printed.code, &*printed.out), (Some(1), ""), "{arguments:?}");
        let last = printed.err.lines().last().unwrap_or_default();
        assert!(last.contains(expected), "{arguments:?}: {}", printed.err);
    }
}

pub async fn test_cases_run_without_a_mesh(_: &Mesh) {
    let folder = project("_", &guests::logging());
    let folder = folder.path();
    let none = fl_fn(folder, &["test", "."]).await;
    assert!(none.code == Some(1) && none.err.contains("tests/*.json"), "{}", none.err);
    write(folder, "tests/same.json", r#"{"args": {"a": 1}, "result": {"a": 1.0}}"#);
    let passed = fl_fn(folder, &["test"]).await;
    assert_eq!(
        (passed.code, &*passed.out),
        (Some(0), "ok    same.json\n\n1 of 1 cases passed"),
        "{}",
        passed.err
    );

    write(
        folder,
        "tests/other.json",
        r#"[{"args": 1, "result": 1}, {"args": {"a": 1}, "result": {"a": 2}}]"#,
    );
    write(folder, "tests/refused.json", r#"{"args": 1, "error": "no"}"#);
    let failed = fl_fn(folder, &["test"]).await;
    let expected = "\
ok    other.json (1)
FAIL  other.json (2)
      the result differs: - expected, + returned
        {
      -   \"a\": 2
      +   \"a\": 1
        }
      log: {\"a\": 1}
FAIL  refused.json
      expected an error that contains \"no\"; it returned
      1
      log: 1
ok    same.json

2 of 4 cases passed";
    assert_eq!((failed.code, &*failed.out), (Some(1), expected), "{}", failed.err);
    assert_eq!(failed.err, "fl: error: 2 of 4 cases failed");
}

/// Waits until the log has this line so many times.
async fn shown(process: &mut Running, log: &Path, line: &str, times: usize) {
    let count =
        || std::fs::read_to_string(log).unwrap_or_default().lines().filter(|text| *text == line).count();
    process.ready(SAVE_TIMEOUT, async || count() >= times).await;
}

pub async fn every_save_is_built_uploaded_and_invoked(mesh: &Mesh) {
    let user = mesh.user();
    user.create_module("inner_dev").await;
    let (folder, log) =
        (project("inner_dev", &guests::responding(b"1")), tempfile::tempdir().expect("a folder"));
    write(folder.path(), "tests/case.json", r#"{"args": "said", "result": 3}"#);
    let path = folder.path().to_string_lossy().into_owned();
    for local in [false, true] {
        write(folder.path(), "source.bin", guests::responding(b"1"));
        let mut arguments = vec!["fn", "dev", &path, "--trace"];
        arguments.extend(local.then_some("--local"));
        let log = log.path().join(format!("log-{local}"));
        let mut dev = start(mesh, &user, &arguments, &log);
        shown(&mut dev, &log, "1", 1).await;
        write(folder.path(), "source.bin", b"no code");
        shown(&mut dev, &log, "waiting for a change; stop with Ctrl-C", 2).await;
        write(folder.path(), "source.bin", guests::logging());
        shown(&mut dev, &log, "log: \"said\"", 1).await;
        shown(&mut dev, &log, "\"said\"", 1).await;
        dev.signal(Signal::INT);
        let ended = dev.ended(SAVE_TIMEOUT).await;
        assert!(ended.success(), "{ended}: {}", dev.log());
        assert!(dev.log().contains("error: ") && dev.log().contains("  run "), "{}", dev.log());
    }
    assert_eq!(user.result("inner_dev", "f", json!([7])).await, json!([7]), "the last save is in the mesh");
    let shown = user.get("/v1/fn/inner_dev/f").await.expect(200).json();
    assert_eq!(shown["data"]["metadata"]["tag"], "inner");
    user.delete("/v1/fn/inner_dev").await.expect(204);
}

pub async fn functions_are_copied(mesh: &Mesh) {
    let user = mesh.user();
    user.create_module("inner_from").await;
    user.create_module("inner_to").await;
    user.create_function("inner_from", "f", &guests::echo()).await;
    let copied = fl(mesh, &user, &["fn", "copy", "inner_from/f", "inner_to/g"]).await;
    let expected = "Successfully copied function inner_from/f to inner_to/g.";
    assert_eq!((copied.code, &*copied.out), (Some(0), expected), "{}", copied.err);
    user.delete("/v1/fn/inner_from/f").await.expect(204);
    assert_eq!(user.result("inner_to", "g", json!({"a": 1})).await, json!({"a": 1}));
    for (from, to, expected) in [
        ("inner_to/g", "inner_to/g", "already exists"),
        ("inner_to/gg", "inner_to/h", "did you mean inner_to/g?"),
        ("inner_to/g", "inner_tom/g", "did you mean inner_to"),
    ] {
        let refused = fl(mesh, &user, &["fn", "copy", from, to]).await;
        assert!(refused.code == Some(1) && refused.err.contains(expected), "{from} {to}: {}", refused.err);
    }
    user.delete("/v1/fn/inner_from").await.expect(204);
    user.delete("/v1/fn/inner_to").await.expect(204);
}

pub async fn throughput_and_latency_are_measured(mesh: &Mesh) {
    let user = mesh.user();
    user.create_module("inner_bench").await;
    user.create_function("inner_bench", "f", &guests::echo()).await;
    user.create_function("inner_bench", "failing", &guests::failing(b"no")).await;
    let bench = async |arguments: &[&str]| {
        let arguments: Vec<_> = std::iter::once("bench").chain(arguments.iter().copied()).collect();
        fl(mesh, &user, &arguments).await
    };
    let json = |printed: &Printed| serde_json::from_str::<Value>(&printed.out).expect("JSON");

    let closed = bench(&["inner_bench/f", "-a", "a=1", "-c", "4", "-n", "40", "--json"]).await;
    let report = json(&closed);
    assert_eq!(
        (closed.code, &report["succeeded"], &report["failed"]),
        (Some(0), &json!(40), &json!(0)),
        "{report}"
    );
    assert!(report["latency_us"]["p50"].as_u64() <= report["latency_us"]["max"].as_u64(), "{report}");
    let counts =
        report["histogram"].as_array().expect("buckets").iter().map(|bucket| bucket["count"].as_u64());
    assert_eq!(counts.sum::<Option<u64>>(), Some(40), "{report}");

    let open = bench(&["f", "-m", "inner_bench", "--rate", "50", "-d", "400ms", "--json"]).await;
    let report = json(&open);
    let done =
        report["succeeded"].as_u64().expect("a number") + report["not_started"].as_u64().expect("a number");
    assert!(open.success && (18..=21).contains(&done), "{report}");

    let text = bench(&["inner_bench/f", "-n", "2"]).await;
    assert!(text.success && text.err.is_empty(), "{}", text.err);
    for word in
        ["inner_bench/f: 10 connections, ", "succeeded    2, ", "failed       0", "  p99.9 ", "  up to "]
    {
        assert!(text.out.contains(word), "{word:?}: {}", text.out);
    }
    let failing = bench(&["inner_bench/failing", "-n", "3"]).await;
    assert_eq!(failing.code, Some(1), "{}", failing.out);
    assert!(failing.out.contains("       3  422 ") && failing.out.contains("such as: "), "{}", failing.out);
    let unknown = bench(&["inner_bench/ff"]).await;
    assert!(unknown.code == Some(1) && unknown.err.contains("did you mean inner_bench/f"), "{}", unknown.err);
    user.delete("/v1/fn/inner_bench").await.expect(204);
}
