use std::time::Duration;

use mesh::receipt::Receipt;
use mesh::testing::eventually;
use mesh::{Caller, Error, Reason};
use proto::scheduler::v1::{DefaultPolicy, Scheduling, scheduling::Language};
use serde_json::Value;

use super::detail;
use crate::support::Mesh;
use crate::support::http::{Body, send};
use crate::support::scheduler::Answer;

const PATH: &str = "/v1/fn/_/f";

#[tokio::test]
async fn arguments_reach_the_scheduler_byte_for_byte() {
    let mesh = Mesh::start().await;
    let cases = [
        (r#"{"args":{"b":1,"a":2}}"#, r#"{"b":1,"a":2}"#),
        (r#"{"args" :  { "b" :1.0e+2,	"a": 1 }  }"#, r#"{ "b" :1.0e+2,	"a": 1 }"#),
        (r#"{"args":123456789012345678901234567890.10}"#, "123456789012345678901234567890.10"),
        (r#"{"x":{"args":1},"args":"é\u00e9","y":[]}"#, r#""é\u00e9""#),
        (r#"{"args":[null]}"#, "[null]"),
        (r#"{"args":false}"#, "false"),
        (r#"{"args":{}}"#, "{}"),
        (r#"{"args":null}"#, ""),
        (r#"{"args":null,"scheduling":null}"#, ""),
        ("{}", ""),
        ("", ""),
    ];
    mesh.scheduler.answers(Answer::Result("1"));
    for (body, args) in cases {
        let answer = mesh.ask("POST", PATH, Body::Json(body)).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, r#"{"data":1}"#), "{body}");
        let request = mesh.scheduler.last_request();
        assert_eq!((request.module.as_str(), request.function.as_str()), ("_", "f"));
        assert_eq!(request.args, args.as_bytes(), "{body}");
        assert_eq!(request.scheduling, None);
    }
}

#[tokio::test]
async fn results_are_returned_byte_for_byte() {
    let mesh = Mesh::start().await;
    for result in ["7", "null", r#""text""#, r#"{ "b": 12345678901234567890123,"a" :[1.0] }"#] {
        mesh.scheduler.answers(Answer::Result(result));
        let answer = mesh.ask("POST", PATH, Body::None).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, format!(r#"{{"data":{result}}}"#).as_str()));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let length = answer.text.len().to_string();
        assert_eq!(
            answer.header("content-length"),
            Some(length.as_str()),
            "the response has a content length"
        );
        let invocation = mesh.scheduler.last_request().invocation_id;
        assert_eq!(answer.header("x-funless-invocation"), Some(invocation.as_str()));
    }
}

#[tokio::test]
async fn depth_and_size_are_not_limited_within_the_maximum_body() {
    let mesh = Mesh::start().await;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let ignored = format!("{}1{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
    let text = format!(r#""{}""#, "x".repeat(5 << 20));
    for args in [deep, text] {
        let body = format!(r#"{{"ignored":{ignored},"args":{args}}}"#);
        let answer = send(mesh.request("POST", PATH).body(body)).await;
        assert_eq!(answer.status, 200);
        assert!(answer.text == format!(r#"{{"data":{args}}}"#), "the result equals the arguments");
    }
}

#[tokio::test]
async fn a_too_large_body_is_413_even_if_the_client_is_still_sending() {
    let mesh = Mesh::start_with(|config| config.max_args_bytes = 1000).await;
    let fits = format!(r#"{{"args":"{}"}}"#, "x".repeat(989));
    assert_eq!(fits.len(), 1000);
    assert_eq!(send(mesh.request("POST", PATH).body(fits)).await.status, 200);
    for size in [1001, 20 << 20] {
        let answer = send(mesh.request("POST", PATH).body(vec![b' '; size])).await;
        assert_eq!(answer.status, 413);
        assert_eq!(answer.published(), detail("Payload Too Large: the body may have at most 1000 bytes"));
    }
}

#[tokio::test]
async fn bodies_have_up_to_8_000_000_bytes() {
    let mesh = Mesh::start().await;
    for (size, status) in [(8_000_000, 200), (8_000_001, 413)] {
        let body = format!(r#"{{"args":"{}"}}"#, "x".repeat(size - 11));
        assert_eq!(body.len(), size);
        assert_eq!(send(mesh.request("POST", PATH).body(body)).await.status, status, "{size}");
    }
}

#[tokio::test]
async fn other_than_json_objects_are_refused() {
    let mesh = Mesh::start().await;
    let cases = [
        (Body::Json("{"), 400),
        (Body::Json("nonsense"), 400),
        (Body::Json("[]"), 400),
        (Body::Json(r#"["args"]"#), 400),
        (Body::Json("1"), 400),
        (Body::Json("null"), 400),
        (Body::Json("  "), 400),
        (Body::Json(r#"{"args":1}}"#), 400),
        (Body::Json(r#"{"args":'a'}"#), 400),
        (Body::Typed("application/problem+json; charset=utf-8", "{}"), 200),
        (Body::Typed("text/plain", "{}"), 415),
        (Body::Typed("application/x-www-form-urlencoded", "args=1"), 415),
        (Body::Form(&[("args", "1")]), 415),
    ];
    for (body, status) in cases {
        let asked = format!("{body:?}");
        mesh.scheduler.answers(Answer::Result("1"));
        let answer = mesh.ask("POST", PATH, body).await;
        assert_eq!(answer.status, status, "{asked}");
        assert!(status == 200 || answer.json()["errors"]["detail"].is_string(), "{asked}");
    }
    let answer = send(mesh.request("POST", PATH).body(b"{\"args\":\"\xff\"}".as_slice())).await;
    assert_eq!(answer.status, 400, "invalid UTF-8");
    let answer = send(mesh.request("POST", PATH).body(b"{\"\xff\":1}".as_slice())).await;
    assert_eq!(answer.status, 400, "invalid UTF-8 outside of the arguments");
}

#[tokio::test]
async fn scheduling_names_a_policy() {
    let mesh = Mesh::start().await;
    mesh.scheduler.answers(Answer::Result("1"));
    let policy = |language| Some(Scheduling { language: Some(language) });
    let (app, none) =
        (policy(Language::AppScript("s".into())), policy(Language::DefaultPolicy(DefaultPolicy {})));
    let cases = [
        // The function's own script applies, which the scheduler knows.
        ("{}", Some(None)),
        (r#"{"scheduling":null}"#, Some(None)),
        (r#"{"scheduling":{"language":"none"}}"#, Some(none.clone())),
        (r#"{"scheduling":{"language":"none","script":1}}"#, Some(none)),
        (r#"{"scheduling":{"language":"app","script":"s","x":1}}"#, Some(app)),
        (r#"{"scheduling":{"language":"app"}}"#, None),
        (r#"{"scheduling":{"language":"app","script":null}}"#, None),
        (r#"{"scheduling":{"language":"app","script":""}}"#, None),
        (r#"{"scheduling":{"language":"app","script":7}}"#, None),
        (r#"{"scheduling":{"language":"lua","script":"s"}}"#, None),
        (r#"{"scheduling":{"language":1}}"#, None),
        (r#"{"scheduling":{}}"#, None),
        (r#"{"scheduling":"none"}"#, None),
        (r#"{"scheduling":[]}"#, None),
    ];
    for (body, expected) in cases {
        let answer = mesh.ask("POST", PATH, Body::Json(body)).await;
        assert_eq!(answer.status, if expected.is_some() { 200 } else { 400 }, "{body}");
        if let Some(scheduling) = expected {
            assert_eq!(mesh.scheduler.last_request().scheduling, scheduling, "{body}");
        }
    }
}

#[tokio::test]
async fn each_outcome_has_its_status() {
    let mesh = Mesh::start().await;
    let error = |reason, message: &str| Answer::Error(Error::new(reason, message));
    let cases: [(Answer, u16, &str); 21] = [
        (Answer::FunctionError("no luck"), 422, "Error: no luck"),
        (Answer::FunctionError(""), 422, "Error: "),
        (Answer::Nothing, 500, "Something went wrong"),
        (error(Reason::FunctionNotFound, "no function _/f"), 404, "Not Found"),
        (error(Reason::ModuleNotFound, "there is no module"), 404, "Not Found"),
        (error(Reason::ScriptNotFound, "no script s"), 404, "Not Found: no script s"),
        (
            error(Reason::GuestTrapped, "the function trapped: unreachable"),
            500,
            "Something went wrong: the function trapped: unreachable",
        ),
        (error(Reason::GuestExited, "exit code 3"), 500, "Something went wrong: exit code 3"),
        (
            error(Reason::GuestBadResponse, "the response is not valid JSON"),
            500,
            "Something went wrong: the response is not valid JSON",
        ),
        (
            error(Reason::GuestMemoryLimit, "memory limit of 1 MiB"),
            500,
            "Something went wrong: memory limit of 1 MiB",
        ),
        (
            error(Reason::GuestOutputLimit, "output limit of 6 MiB"),
            500,
            "Something went wrong: output limit of 6 MiB",
        ),
        (error(Reason::GuestStackLimit, "stack limit"), 500, "Something went wrong: stack limit"),
        (error(Reason::CodeUnusable, "no memory"), 500, "Something went wrong: no memory"),
        (error(Reason::Internal, "secret"), 500, "Something went wrong"),
        (error(Reason::DeadlineExceeded, "limit of 60000 ms"), 504, "Gateway Timeout: limit of 60000 ms"),
        (error(Reason::NoWorker, "No worker available"), 503, "No worker available"),
        (
            error(Reason::NoWorker, "no worker has 64 KB of memory free"),
            503,
            "No worker available: no worker has 64 KB of memory free",
        ),
        (error(Reason::WorkerLost, "w1"), 503, "Service Unavailable: w1"),
        (
            error(Reason::ResultNotTaken, "cannot reach http://sink:4005"),
            503,
            "Service Unavailable: the function ran, but its sinks did not take the result, which is lost; \
                another request runs it again",
        ),
        (error(Reason::TooLarge, "the result has 7 MiB"), 413, "the result has 7 MiB"),
        (error(Reason::Overloaded, "full"), 429, "Too Many Requests: full"),
    ];
    for (outcome, status, expected) in cases {
        mesh.scheduler.answers(outcome.clone());
        let answer = mesh.ask("POST", PATH, Body::None).await;
        assert_eq!((answer.status, answer.published()), (status, detail(expected)), "{outcome:?}");
        assert!(answer.header("x-funless-invocation").is_some(), "failed invocations have ids too");
        // `Retry-After` is set only if the invocation has not started.
        let may_be_retried = status == 429 || expected.starts_with("No worker available");
        assert_eq!(answer.header("retry-after").is_some(), may_be_retried, "{outcome:?}");
    }
}

#[tokio::test]
async fn every_response_has_the_decision_id() {
    let mesh = Mesh::start().await;
    let error = |reason| Answer::Error(Error::new(reason, "why"));
    let cases = [
        (Answer::Echo, 200),
        (Answer::FunctionError("no luck"), 422),
        (Answer::Nothing, 500),
        (error(Reason::GuestTrapped), 500),
        (error(Reason::NoWorker), 503),
        (error(Reason::NoValidWorkers), 503),
        (error(Reason::NoMatchingTag), 503),
        (error(Reason::WorkerLost), 503),
        (error(Reason::DeadlineExceeded), 504),
        (error(Reason::Overloaded), 429),
    ];
    for decision in [Some("a-1"), None] {
        mesh.scheduler.state.lock().decision = decision;
        for (outcome, status) in &cases {
            mesh.scheduler.answers(outcome.clone());
            let answer = mesh.ask("POST", PATH, Body::None).await;
            let named = (answer.status, answer.header("x-funless-decision"));
            assert_eq!(named, (*status, decision), "{outcome:?}");
        }
    }
    let mesh = Mesh::start_in_one_process().await;
    mesh.scheduler.state.lock().decision = Some("a-2");
    mesh.scheduler.answers(error(Reason::NoValidWorkers));
    let answer = mesh.ask("POST", PATH, Body::None).await;
    assert_eq!((answer.status, answer.header("x-funless-decision")), (503, Some("a-2")));
}

#[tokio::test]
async fn an_invocation_has_its_caller_and_a_deadline() {
    let mesh = Mesh::start_with(|config| config.request_timeout_s = 9).await;
    mesh.ask("POST", PATH, Body::None).await;
    let state = mesh.scheduler.state.lock();
    assert_eq!(state.caller, Some(Caller::Subject("ann".into())));
    let deadline = state.deadline.expect("a deadline");
    assert!(deadline > Duration::from_secs(5) && deadline <= Duration::from_secs(9), "{deadline:?}");
}

#[tokio::test]
async fn a_missed_deadline_is_504() {
    let mesh = Mesh::start_with(|config| config.request_timeout_s = 1).await;
    mesh.scheduler.answers(Answer::Hang);
    assert_eq!(mesh.ask("POST", PATH, Body::None).await.status, 504);
    eventually("the invocation has ended", async || mesh.scheduler.runs() == 0).await;
}

#[tokio::test]
async fn an_invocation_ends_if_its_client_disconnects() {
    let mesh = Mesh::start().await;
    mesh.scheduler.answers(Answer::Hang);
    let call = tokio::spawn(mesh.request("POST", PATH).send());
    eventually("the invocation runs", async || mesh.scheduler.runs() == 1).await;
    call.abort();
    eventually("the invocation has ended", async || mesh.scheduler.runs() == 0).await;
}

#[tokio::test]
async fn an_invocation_sees_the_writes_before_it() {
    let mesh = Mesh::start().await;
    let revisions = async |header: Option<&str>| {
        let mut request = mesh.request("POST", PATH);
        if let Some(header) = header {
            request = request.header("x-funless-revision", header);
        }
        assert_eq!(send(request.body(r#"{"args":1}"#)).await.status, 200);
        let request = mesh.scheduler.last_request();
        (request.min_revision, request.latest_revision)
    };
    assert_eq!(revisions(None).await, (0, 0));
    let answer = mesh.ask("POST", "/v1/fn", Body::Json(r#"{"module":{"name":"m"}}"#)).await;
    assert_eq!(answer.header("x-funless-revision"), Some("1"));
    let answer = mesh.ask("DELETE", "/v1/fn/m", Body::None).await;
    assert_eq!((answer.header("x-funless-revision"), answer.published()), (Some("2"), Value::Null));
    assert_eq!(revisions(None).await, (0, 2));
    assert_eq!(revisions(Some("7")).await, (7, 2));
    assert_eq!(revisions(Some("1")).await, (1, 2));
    assert_eq!(revisions(None).await, (0, 2), "a client's revision affects only its own request");
    let answer = send(mesh.request("POST", PATH).header("x-funless-revision", "new")).await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn the_receipt_is_in_the_headers_even_of_failures() {
    let mesh = Mesh::start().await;
    let receipt =
        Receipt { run_us: 1500, total_us: 2000, cpu_us: 7, worker: "w1".into(), ..Receipt::default() };
    mesh.scheduler.state.lock().receipt = receipt;
    let trapped = Error::new(Reason::GuestTrapped, "the function trapped");
    for answer in [Answer::Result("1"), Answer::FunctionError("no"), Answer::Error(trapped)] {
        mesh.scheduler.answers(answer);
        let answer = mesh.ask("POST", PATH, Body::None).await;
        assert_eq!(answer.header("server-timing"), Some("run;dur=1.500, total;dur=2.000"), "{answer:?}");
        let costs = answer.header("x-funless-receipt").expect("a receipt");
        assert!(costs.starts_with("cpu_us=7, ") && costs.ends_with("worker=\"w1\""), "{costs}");
    }
}
