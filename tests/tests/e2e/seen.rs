//! The receipt and the logs of an invocation.

use std::time::Duration;

use mesh::receipt;
use proto::scheduler::v1::InvokeRequest;
use proto::scheduler::v1::invocations_client::InvocationsClient;
use serde_json::{Value, json};
use tests::fl::{fl, start};
use tests::grpc::connect;
use tests::process::Signal;
use tests::{Answer, Mesh, guests, wait};

const SOON: Duration = Duration::from_secs(20);

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().expect("text")
}

/// The time of each phase, in milliseconds.
fn phases(answer: &Answer) -> Vec<(String, f64)> {
    let entries = header(answer, "server-timing").split(", ");
    let read = entries.map(|entry| {
        let (name, ms) = entry.split_once(";dur=").expect("a duration");
        (name.to_owned(), ms.parse().expect("a number"))
    });
    read.collect()
}

pub async fn responses_report_their_cost(mesh: &Mesh) {
    let user = mesh.user();
    user.create_module("costs").await;
    user.create_function("costs", "f", &guests::mirror()).await;
    user.create_function("costs", "trap", &guests::trapping()).await;
    let answer = user.invoke("costs", "f", json!([1, 2])).await.expect(200);
    let times = phases(&answer);
    let total = times.last().expect("a total");
    assert_eq!(total.0, "total");
    let sum: f64 = times.iter().filter(|(name, _)| name != "total").map(|(_, ms)| ms).sum();
    assert!(sum <= total.1 + 0.01, "the phases exceed the total: {times:?}");
    let costs = header(&answer, "x-funless-receipt");
    for part in ["in_bytes=5", "out_bytes=5", "http_requests=0", "attempts=1", "worker=\"worker\""] {
        assert!(costs.contains(part), "{part} is missing in {costs}");
    }
    // 256 pages in addition to the initial one.
    assert!(costs.contains("peak_memory_bytes=16842752"), "{costs}");

    let failed = user.invoke("costs", "trap", json!({})).await.expect(500);
    assert!(header(&failed, "x-funless-receipt").contains("in_bytes=2"));
    let refused = user.invoke("costs", "nothing", json!({})).await.expect(404);
    assert!(!refused.headers.contains_key("x-funless-receipt"), "nothing has run");

    let request = InvokeRequest { module: "costs".into(), function: "f".into(), ..InvokeRequest::default() };
    let mut client = InvocationsClient::new(connect(mesh, user.token()).await);
    let response = client.invoke(request).await.expect("a result");
    let receipt = receipt::of(response.metadata());
    let decision = response.into_inner().decision_id;
    assert_eq!((&*receipt.worker, &receipt.decision_id), ("worker", &decision));
    assert!(receipt.total_us >= receipt.run_us + receipt.instantiate_us, "{receipt:?}");
    user.delete("/v1/fn/costs").await.expect(204);
}

pub async fn costs_from_the_command_line(mesh: &Mesh) {
    let user = mesh.user();
    user.create_module("costs_typed").await;
    user.create_function("costs_typed", "f", &guests::responding(b"1")).await;
    let printed = fl(mesh, &user, &["fn", "invoke", "costs_typed/f", "--trace"]).await;
    assert_eq!((printed.code, printed.out.as_str()), (Some(0), "1"), "{}", printed.err);
    let lines: Vec<_> = printed.err.lines().collect();
    assert!(lines[0].starts_with("client ") && lines[1].starts_with("mesh "), "{}", printed.err);
    assert!(lines.iter().any(|line| line.starts_with("  run ")), "{}", printed.err);
    assert!(printed.err.contains("worker worker"), "{}", printed.err);
    user.delete("/v1/fn/costs_typed").await.expect(204);
}

pub async fn a_panic_is_in_the_functions_log(mesh: &Mesh) {
    let user = mesh.user();
    user.create_module("panics").await;
    user.create_function("panics", "f", &guests::panics()).await;
    let detail = user.invoke("panics", "f", json!({ "message": "out of tea" })).await.expect(500).detail();
    let trapped = "the function trapped: wasm `unreachable` instruction executed, in ";
    assert!(detail.starts_with(&format!("Something went wrong: {trapped}")), "{detail}");
    assert!(detail.contains("__invoke"), "the backtrace names the guest's function: {detail}");
    let read = user.get("/v1/fn/panics/f/logs").await.expect(200).json();
    let lines = read["data"]["lines"].as_array().expect("lines").iter();
    let texts: Vec<_> = lines.map(|line| line["text"].as_str().expect("a text")).collect();
    assert!(texts[0].ends_with(&format!("panicked at {}:", guests::PANICS_AT)), "{texts:?}");
    assert_eq!(texts[1], "out of tea");
    assert!(texts[2].starts_with(trapped) && texts[3].starts_with("    at "), "{texts:?}");
    user.delete("/v1/fn/panics").await.expect(204);
}

pub async fn logs_are_read_from_all_workers(mesh: &Mesh) {
    let user = mesh.user();
    user.create_module("logs").await;
    user.create_function("logs", "f", &guests::logging()).await;
    let answer = user.invoke("logs", "f", json!("first")).await.expect(200);
    let read = user.get("/v1/fn/logs/f/logs").await.expect(200).json();
    let [line] = &read["data"]["lines"].as_array().expect("lines")[..] else {
        panic!("expected one line: {read}")
    };
    assert_eq!((&line["text"], &line["worker"]), (&json!("\"first\""), &json!("worker")));
    assert_eq!(line["invocation"], json!(header(&answer, "x-funless-invocation")));
    assert_eq!(read["data"]["unreachable"], json!([]));

    let printed = fl(mesh, &user, &["fn", "logs", "logs/f"]).await;
    assert!(printed.success && printed.out.lines().count() == 1, "{printed:?}");
    assert!(printed.out.contains(" worker \"first\"  invocation="), "{}", printed.out);

    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("log");
    let mut following = start(mesh, &user, &["fn", "logs", "logs/f", "--follow", "--json"], &log);
    let texts = || -> Vec<String> {
        let printed = std::fs::read_to_string(&log).unwrap_or_default();
        let lines = printed.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter_map(|line| Some(line["text"].as_str()?.to_owned())).collect()
    };
    let shows = async |expected: &[&str]| {
        wait::until("the expected lines are printed", SOON, async || (texts() == expected).then_some(()))
            .await;
    };
    shows(&["\"first\""]).await;
    user.invoke("logs", "f", json!("second")).await.expect(200);
    shows(&["\"first\"", "\"second\""]).await;
    following.signal(Signal::INT);
    assert!(following.ended(SOON).await.success());

    let stranger = mesh.admin().create_subject("log_reader").await;
    stranger.get("/v1/fn/logs/f/logs").await.expect(404);
    user.delete("/v1/fn/logs").await.expect(204);
    let missing = fl(mesh, &user, &["fn", "logs", "logs/f"]).await;
    assert!(!missing.success && missing.err.contains("Not Found"), "{}", missing.err);
}
