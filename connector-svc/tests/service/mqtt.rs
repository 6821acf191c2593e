//! Messages of a broker become invocations.

use std::collections::HashSet;

use mesh::testing::eventually;
use mesh::{Caller, Error, Reason};
use proto::binding::v1::BindingState;
use proto::connector::v1::{CheckEventsRequest, GetEventStatusRequest};
use proto::registry::v1::Binding;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::fakes::Reply;
use crate::support::servers::{Mosquitto, free_port};
use crate::support::{Connector, Stage, as_subject};

/// Surroundings in which the binding `b` listens to everything of a broker.
pub async fn bound(more: Value) -> (Mosquitto, Stage, Connector) {
    let (broker, stage) = (Mosquitto::start().await, Stage::new());
    let mut params = json!({ "host": "127.0.0.1", "port": broker.port.to_string(), "topic": "#" });
    params.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    stage.registry.bind("b", "mqtt", &params);
    let connector = stage.connector().await;
    connector.connected("b").await;
    (broker, stage, connector)
}

#[tokio::test]
async fn valid_and_invalid_events_keep_their_order() {
    let connector = Stage::new().connector().await;
    let event =
        |kind: &str, params: &str| Binding { id: String::new(), r#type: kind.into(), params: params.into() };
    let events = vec![
        event("mqtt", r#"{"host":"broker","port":"1883","topic":"a/b"}"#),
        event("kafka", "{}"),
        event("mqtt", r#"{"host":"broker","port":"many","topic":"t"}"#),
        event("cron", r#"{"schedule":"0 0 * * *"}"#),
        event("nats", r#"{"url":"nats://h","stream":"S"}"#),
        event("mqtt", r#"{"host":"http://broker","topic":"t"}"#),
    ];
    let checked = connector.events().check_events(CheckEventsRequest { events }).await.expect("told");
    let problems = checked.into_inner().problems;
    assert!(problems[1].starts_with("not_implemented: "), "{}", problems[1]);
    assert!(problems[2].contains("port"), "{}", problems[2]);
    assert!(problems[5].contains("unknown scheme"), "{}", problems[5]);
    assert_eq!([&problems[0], &problems[3], &problems[4]], ["", "", ""]);
}

#[tokio::test]
async fn a_broker_may_be_given_as_an_address() {
    let (broker, stage) = (Mosquitto::start().await, Stage::new());
    for (id, host) in [
        ("scheme", format!("mqtt://127.0.0.1:{}", broker.port)),
        ("port", format!("127.0.0.1:{}", broker.port)),
    ] {
        stage.registry.bind(id, "mqtt", &json!({ "host": host, "topic": "#" }));
    }
    let connector = stage.connector().await;
    connector.connected("scheme").await;
    connector.connected("port").await;
}

#[tokio::test]
async fn a_message_runs_the_function() {
    let (broker, stage, connector) = bound(json!({})).await;
    broker.publish(&["-t", "a/b", "-m", r#"{"n": 1}"#]);
    let counts = connector.settled("b", 1).await;
    assert_eq!((counts.received, counts.invalid, counts.dead_lettered), (1, 0, 0));
    let calls = stage.scheduler.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].text(), r#"{"n": 1}"#);
    assert_eq!(calls[0].caller, Caller::Service);
    assert!(calls[0].has_deadline);
    let request = &calls[0].request;
    assert_eq!((request.module.as_str(), request.function.as_str()), ("m", "f"));
    assert_eq!((request.function_id.as_str(), request.min_revision), ("function-of-b", 1));
    assert!(connector.status("b").await.last_activity_ms > 0);

    // Two that merely look alike are two.
    broker.publish(&["-t", "a/b", "-m", r#"{"n": 1}"#]);
    connector.settled("b", 2).await;
    let ids: HashSet<_> = stage.scheduler.calls().into_iter().map(|call| call.id).collect();
    assert_eq!(ids.len(), 2);
}

#[tokio::test]
async fn version_3_1_1_works_as_well() {
    let (broker, stage, connector) = bound(json!({ "version": "3.1.1" })).await;
    broker.publish(&["-t", "a", "-m", "1"]);
    broker.publish(&["-t", "b", "-m", "2", "-q", "0"]);
    connector.settled("b", 2).await;
    assert_eq!(stage.scheduler.arguments(), ["1", "2"]);
}

#[tokio::test]
async fn at_most_once_is_counted_too() {
    let (broker, stage, connector) = bound(json!({ "qos": 0 })).await;
    stage.scheduler.behave(|request| match request.args.as_ref() {
        b"2" => Reply::Error("no twos"),
        _ => Reply::Answer,
    });
    for message in ["1", "2", "not JSON"] {
        broker.publish(&["-t", "a", "-m", message]);
    }
    let counts = connector.settled("b", 3).await;
    assert_eq!((counts.received, counts.invalid, counts.dead_lettered), (3, 1, 2));
}

#[tokio::test]
async fn payloads_can_be_wrapped_and_come_with_all_that_is_known() {
    let (broker, stage, connector) = bound(json!({ "payload": "text", "envelope": true })).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    broker.publish(&[
        "-t",
        "a/b",
        "-m",
        "21 °C",
        "-D",
        "publish",
        "user-property",
        "unit",
        "C",
        "-D",
        "publish",
        "user-property",
        "traceparent",
        trace,
    ]);
    connector.settled("b", 1).await;
    let call = &stage.scheduler.calls()[0];
    let args: Value = serde_json::from_slice(&call.args).expect("JSON");
    let expected = json!({ "payload": "21 °C", "topic": "a/b", "qos": 1, "retained": false,
        "properties": { "unit": "C", "traceparent": trace } });
    assert_eq!(args, expected);
    assert_eq!(call.traceparent.as_deref(), Some(trace), "the event's trace goes on");
}

#[tokio::test]
async fn events_with_one_key_are_one_invocation_and_run_one_after_the_other() {
    let (broker, stage, connector) = bound(json!({ "dedupe_key": "/id" })).await;
    stage.scheduler.behave(|_| Reply::Wait);
    for message in [r#"{"id":1}"#, r#"{"id":1,"again":true}"#, r#"{"id":2}"#] {
        broker.publish(&["-t", "a", "-m", message]);
    }
    eventually("one of each key runs", async || stage.scheduler.running() == 2).await;
    stage.scheduler.let_go(3);
    connector.settled("b", 3).await;
    assert_eq!(stage.scheduler.most_running(), 2);
    let mut ids: Vec<_> = stage.scheduler.calls().into_iter().map(|call| call.id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 2);
    broker.publish(&["-t", "a", "-m", r#"{"id":1,"late":true}"#]);
    stage.scheduler.let_go(1);
    connector.settled("b", 4).await;
    let last = stage.scheduler.calls().pop().expect("a call");
    assert!(ids.contains(&last.id), "the same whenever it comes");
}

#[tokio::test]
async fn a_slow_function_slows_the_broker() {
    for more in [
        json!({ "max_in_flight": 4 }),
        json!({ "max_in_flight": 4, "version": "3.1.1" }),
        json!({ "max_in_flight": 4, "qos": 0 }),
    ] {
        let (broker, stage, connector) = bound(more.clone()).await;
        stage.scheduler.behave(|_| Reply::Wait);
        let messages: Vec<_> = (0..40).map(|n| n.to_string()).collect();
        let lines = messages.join("\n");
        let file = Mosquitto::write(stage.folder(), "lines", &lines);
        publish_lines(&broker, &file).await;
        eventually("the bound is reached", async || stage.scheduler.running() >= 4).await;
        stage.scheduler.let_go(40);
        connector.settled("b", 40).await;
        assert!(stage.scheduler.most_running() <= 5, "{more}: {}", stage.scheduler.most_running());
    }
}

/// Publishes each line of a file.
pub async fn publish_lines(broker: &Mosquitto, file: &str) {
    let input = std::fs::File::open(file).expect("a file");
    let done = std::process::Command::new("mosquitto_pub")
        .args(["-h", "127.0.0.1", "-p", &broker.port.to_string(), "-q", "1", "-t", "many", "-l"])
        .stdin(input)
        .status();
    assert!(done.is_ok_and(|status| status.success()));
}

/// A broker that lets in the user `ann` with the password `hunter2`, who may read below `allowed/`.
async fn protected_broker(folder: &TempDir) -> Mosquitto {
    let passwords = Mosquitto::write(folder, "passwords", "");
    let hashed =
        std::process::Command::new("mosquitto_passwd").args(["-b", &passwords, "ann", "hunter2"]).status();
    assert!(hashed.is_ok_and(|status| status.success()), "mosquitto_passwd");
    let rules = Mosquitto::write(folder, "rules", "user ann\ntopic read allowed/#\n");
    let lines = format!("allow_anonymous false\npassword_file {passwords}\nacl_file {rules}\n");
    Mosquitto::start_with(&lines).await
}

/// What an update with these parameters answers of its binding.
async fn status_after_update(stage: &Stage, connector: &Connector, params: &Value) -> (BindingState, String) {
    stage.registry.rebind("b", params);
    let mut request = tonic::Request::new(GetEventStatusRequest { ids: vec!["b".into()], wait: true });
    request.set_timeout(std::time::Duration::from_secs(10));
    let told = connector.events().get_event_status(request).await.expect("in time").into_inner();
    let status = told.statuses[0].status.clone().expect("a status");
    (status.state(), status.message)
}

#[tokio::test]
async fn an_update_is_answered_with_the_state_of_its_own_connection() {
    let folder = tempfile::tempdir().expect("a directory");
    let broker = protected_broker(&folder).await;
    let stage = Stage::new();
    let params = |password: &str| {
        json!({ "host": "127.0.0.1", "port": broker.port, "topic": "allowed/#", "username": "ann",
            "password": password })
    };
    stage.registry.bind("b", "mqtt", &params("hunter2"));
    let connector = stage.connector().await;
    connector.connected("b").await;
    for _ in 0..3 {
        let (state, message) = status_after_update(&stage, &connector, &params("hunter3")).await;
        assert_eq!(state, BindingState::Retrying);
        assert_eq!(message, "the broker refuses the connection: not authorized");
        let told = status_after_update(&stage, &connector, &params("hunter2")).await;
        assert_eq!(told, (BindingState::Connected, String::new()));
        // What is the same goes on.
        let told = status_after_update(&stage, &connector, &params("hunter2")).await;
        assert_eq!(told, (BindingState::Connected, String::new()));
    }
}

/// Without the registry nobody knows whether the connection is that of the update.
#[tokio::test]
async fn a_state_that_may_be_outdated_is_not_reported() {
    let stage = Stage::new();
    stage.registry.bind("b", "cron", &json!({ "schedule": "0 0 1 1 *" }));
    let connector = stage.connector().await;
    connector.connected("b").await;
    stage.registry.go_away();
    let mut request = tonic::Request::new(GetEventStatusRequest { ids: vec!["b".into()], wait: true });
    request.set_timeout(std::time::Duration::from_secs(1));
    let told = connector.events().get_event_status(request).await.expect("in time").into_inner();
    assert_eq!(told.statuses[0].status.clone().expect("a status").state(), BindingState::Connecting);
    assert!(connector.is_connected("b").await, "who does not wait is told what is known");
}

#[tokio::test]
async fn a_refused_connection_is_reported_and_retried() {
    let folder = tempfile::tempdir().expect("a directory");
    let broker = protected_broker(&folder).await;
    let stage = Stage::new();
    let params = |password: &str, version: &str| {
        json!({ "host": "127.0.0.1", "port": broker.port, "topic": "allowed/#", "username": "ann",
            "password": password, "version": version })
    };
    stage.registry.bind("right", "mqtt", &params("hunter2", "5"));
    stage.registry.bind("wrong5", "mqtt", &params("hunter3", "5"));
    stage.registry.bind("wrong3", "mqtt", &params("hunter3", "3.1.1"));
    let connector = stage.connector().await;
    connector.connected("right").await;
    for id in ["wrong5", "wrong3"] {
        let message = connector.retrying(id).await;
        assert!(message.contains("the broker refuses the connection: not authorized"), "{message}");
        assert!(!message.contains("hunter"), "{message}");
    }
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_awaited() {
    let stage = Stage::new();
    let port = free_port();
    stage.registry.bind("b", "mqtt", &json!({ "host": "127.0.0.1", "port": port, "topic": "t" }));
    let connector = stage.connector().await;
    let mut request = tonic::Request::new(GetEventStatusRequest { ids: vec!["b".into()], wait: true });
    request.set_timeout(std::time::Duration::from_secs(3));
    let told = connector.events().get_event_status(request).await.expect("in time").into_inner();
    let status = told.statuses[0].status.clone().expect("a status");
    assert!(status.message.contains("cannot reach the broker"), "{status:?}");
    assert!(status.since_ms > 0);
}

#[tokio::test]
async fn a_message_that_is_too_large_is_reported() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut hello = [0; 64];
            let _ = client.read(&mut hello).await;
            // "Accepted", and then a message of which the head says 256 MiB.
            let _ = client.write_all(&[0x20, 2, 0, 0, 0x32, 0xff, 0xff, 0xff, 0x7f]).await;
        }
    });
    let stage = Stage::new();
    let params = json!({ "host": "127.0.0.1", "port": port, "topic": "t", "version": "3.1.1" });
    stage.registry.bind("b", "mqtt", &params);
    let connector = stage.connector().await;
    let message = connector.retrying("b").await;
    assert!(message.contains("a message of 268435455 bytes; at most 67108864 are accepted"), "{message}");
}

#[tokio::test]
async fn users_do_not_ask_for_states() {
    let connector = Stage::new().connector().await;
    let check = as_subject("ann", CheckEventsRequest::default());
    let status = as_subject("ann", GetEventStatusRequest::default());
    let refused = [
        Error::from(connector.events().check_events(check).await.expect_err("refused")),
        Error::from(connector.events().get_event_status(status).await.expect_err("refused")),
    ];
    assert_eq!(refused.map(|error| error.reason), [Reason::PermissionDenied; 2]);
}

#[tokio::test]
async fn a_broker_of_the_older_version_is_recognised() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut hello = [0; 64];
            let _ = client.read(&mut hello).await;
            // "Unacceptable protocol version", as version 3.1.1 says it.
            let _ = client.write_all(&[0x20, 2, 0, 1]).await;
        }
    });
    let stage = Stage::new();
    stage.registry.bind("b", "mqtt", &json!({ "host": "127.0.0.1", "port": port, "topic": "t" }));
    let connector = stage.connector().await;
    let message = connector.retrying("b").await;
    assert!(message.contains("\"version\":\"3.1.1\""), "{message}");
}
