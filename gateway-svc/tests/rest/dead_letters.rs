use mesh::{Error, Reason};
use proto::deadletter::v1::DeadLetterFilter;
use proto::registry::v1::BindingRole::{Event, Sink};
use serde_json::{Value, json};

use super::{data, detail};
use crate::support::dead_letters::id;
use crate::support::http::{Body, send};
use crate::support::{ANN, Mesh, ROOT, nowhere};

/// Dead letters of events have the numbers 2, 4, 6 and 8, those of results 3, 5, 7 and 9. Number 99 is
/// root's.
async fn mesh_with_letters() -> Mesh {
    let mesh = Mesh::start().await;
    for n in 1..=4 {
        mesh.connector.letters.put(2 * n, Event, "ann", r#"{"b": 1, "a":123456789012345678901234567890}"#);
        mesh.sink.letters.put(2 * n + 1, Sink, "", "\"result\"");
    }
    mesh.sink.letters.put(99, Sink, "root", "1");
    mesh
}

/// The numbers of dead letters, with which their ids end.
fn numbers(letters: &Value) -> Vec<usize> {
    let number = |letter: &Value| letter["id"].as_str().expect("an id")[24..].parse().expect("a number");
    letters.as_array().expect("a list").iter().map(number).collect()
}

fn unavailable() -> Option<Error> {
    Some(Error::new(Reason::Unavailable, "cannot reach http://10.0.0.1"))
}

async fn redrive_many(mesh: &Mesh, body: Value) -> (u16, Value) {
    let answer = send(mesh.request("POST", "/v1/dead-letters/redrive").json(&body)).await;
    (answer.status, answer.json())
}

#[tokio::test]
async fn dead_letters_of_both_services_are_listed_in_pages() {
    let mesh = mesh_with_letters().await;
    let answer = mesh.ask("GET", "/v1/dead-letters?limit=2", Body::None).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let first = json!({
        "id": id(2), "role": "event", "binding_id": "b", "binding_type": "kind", "module": "m", "function": "f",
        "invocation_id": "invocation-2", "reason": "no luck", "attempts": 5,
        "received_at": "2023-11-14T22:13:20Z", "dead_lettered_at": "2023-11-14T22:13:21Z",
        "payload_bytes": 44, "invalid": false, "trace_id": "trace-2",
    });
    let body = answer.json();
    assert_eq!((&body["data"][0], &body["data"][1]["role"]), (&first, &json!("sink")));

    for limit in [1, 2, 3, 5, 1000] {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let path = format!("/v1/dead-letters?limit={limit}{after}");
            let page = mesh.ask("GET", &path, Body::None).await.json();
            let page_numbers = numbers(&page["data"]);
            assert!(page_numbers.len() <= limit, "{page}");
            seen.extend(page_numbers);
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={next}");
        }
        assert_eq!(seen, [2, 3, 4, 5, 6, 7, 8, 9], "pages of {limit}");
    }
    let all = mesh.ask_as(ROOT, "GET", "/v1/dead-letters?role=sink&after=", Body::None).await;
    assert_eq!(all.status, 400, "an empty id is invalid");
    let path = format!("/v1/dead-letters?role=sink&after={}", id(7));
    let all = mesh.ask_as(ROOT, "GET", &path, Body::None).await.json();
    assert_eq!((numbers(&all["data"]), &all["next"]), (vec![9, 99], &Value::Null));
}

#[tokio::test]
async fn filters_are_sent_to_the_selected_services() {
    let mesh = mesh_with_letters().await;
    let path = "/v1/dead-letters?role=event&module=m&function=f&binding=b&older_than=15m";
    let page = mesh.ask("GET", path, Body::None).await.json();
    assert_eq!((numbers(&page["data"]), &page["next"]), (vec![2, 4, 6], &json!(id(6))));
    let filter = DeadLetterFilter {
        module: "m".into(),
        function: "f".into(),
        binding_id: "b".into(),
        min_age_ms: 900_000,
    };
    assert_eq!(mesh.connector.letters.state.lock().asked, Some(filter));
    assert_eq!(mesh.sink.letters.state.lock().asked, None);

    let wrong = [
        ("function=f", "function: expected a module with it"),
        ("limit=0", "limit: expected 1 to 1000, not 0"),
        ("limit=1001", "limit: expected 1 to 1000, not 1001"),
        ("after=x", "after: expected the id of a dead letter"),
        ("role=both", "unknown variant `both`, expected `event` or `sink`"),
        ("modul=m", "unknown field `modul`"),
        ("older_than=soon", "expected older_than as a number of seconds, or like 90s, 15m, 12h or 7d"),
    ];
    for (query, why) in wrong {
        let answer = mesh.ask("GET", &format!("/v1/dead-letters?{query}"), Body::None).await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.text.contains(why), "{query}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_dead_letter_is_shown_with_its_unchanged_payload() {
    let mesh = mesh_with_letters().await;
    let answer = mesh.ask("GET", &format!("/v1/dead-letters/{}", id(2)), Body::None).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let payload = r#""payload":{"b": 1, "a":123456789012345678901234567890}}}"#;
    assert!(answer.text.ends_with(payload), "{}", answer.text);
    assert_eq!(answer.json()["data"]["reason"], "no luck");
    let answer = mesh.ask("GET", &format!("/v1/dead-letters/{}", id(3)), Body::None).await;
    assert_eq!(answer.json()["data"]["payload"], "result");
    for (payload, encoded) in [(&b"hello"[..], "aGVsbG8="), (b"\xff\0", "/wA="), (b"", "")] {
        {
            let mut letters = mesh.connector.letters.state.lock();
            let letter = letters.letters.get_mut(&id(2)).expect("a dead letter");
            (letter.invalid, letter.payload) = (true, payload.into());
        }
        let answer = mesh.ask("GET", &format!("/v1/dead-letters/{}", id(2)), Body::None).await.json();
        let letter = &answer["data"];
        assert_eq!((&letter["invalid"], &letter["payload_base64"]), (&json!(true), &json!(encoded)));
        assert!(letter.get("payload").is_none(), "{letter}");
    }

    for (letter, what) in [(id(50), "unknown"), (id(99), "of another user"), ("x".into(), "not an id")] {
        let path = format!("/v1/dead-letters/{letter}");
        for (method, path) in
            [("GET", path.clone()), ("DELETE", path.clone()), ("POST", format!("{path}/redrive"))]
        {
            let answer = mesh.ask(method, &path, Body::None).await;
            assert_eq!((answer.status, answer.published()), (404, detail("Not Found")), "{method} {what}");
        }
    }
    assert_eq!(mesh.sink.letters.count(), 5);
}

#[tokio::test]
async fn a_dead_letter_is_redriven_or_has_a_reason() {
    let mesh = mesh_with_letters().await;
    mesh.connector.letters.state.lock().poison.insert(id(4), "Error: still no luck");
    let redrive =
        async |n| mesh.ask("POST", &format!("/v1/dead-letters/{}/redrive", id(n)), Body::None).await;
    for n in [2, 3] {
        let answer = redrive(n).await;
        assert_eq!((answer.status, answer.published()), (200, data(json!({"redriven": 1, "failures": []}))));
        assert_eq!(redrive(n).await.status, 404, "it is no longer a dead letter");
    }
    let answer = redrive(4).await;
    assert_eq!((answer.status, answer.published()), (422, detail("Not redriven: Error: still no luck")));
    assert_eq!((mesh.connector.letters.count(), mesh.sink.letters.count()), (3, 4));
}

#[tokio::test]
async fn several_dead_letters_are_redriven() {
    let mesh = mesh_with_letters().await;
    mesh.connector.letters.state.lock().poison.insert(id(2), "why");
    let failures = json!([{"id": id(2), "reason": "why"}]);
    let redriven =
        |redriven, failures: &Value| (200, data(json!({"redriven": redriven, "failures": failures})));
    let none = json!([]);

    // Both services share the limit, and failures count.
    assert_eq!(redrive_many(&mesh, json!({"limit": 2, "module": "m"})).await, redriven(1, &failures));
    assert_eq!((mesh.connector.letters.count(), mesh.sink.letters.count()), (3, 5));
    assert_eq!(redrive_many(&mesh, json!({"limit": 4, "older_than": 60})).await, redriven(3, &failures));
    assert_eq!(mesh.sink.letters.state.lock().asked.as_ref().map(|filter| filter.min_age_ms), Some(60_000));
    assert_eq!((mesh.connector.letters.count(), mesh.sink.letters.count()), (1, 4));

    let ids = json!({"role": "sink", "ids": [id(5), id(9), id(50)]});
    assert_eq!(redrive_many(&mesh, ids).await, redriven(2, &none));
    assert_eq!(redrive_many(&mesh, json!({})).await, redriven(1, &failures));
    assert_eq!(
        (mesh.connector.letters.count(), mesh.sink.letters.count()),
        (1, 1),
        "root's dead letter remains"
    );

    let wrong = [
        json!({"ids": [id(1)]}),
        json!({"ids": [], "role": "sink"}),
        json!({"ids": ["x"], "role": "sink"}),
        json!({"ids": [id(1)], "role": "sink", "module": "m"}),
        json!({"function": "f"}),
        json!({"modul": "m"}),
        json!({"older_than": -1}),
        json!({"limit": 0}),
        json!([]),
    ];
    for body in wrong {
        assert_eq!(redrive_many(&mesh, body.clone()).await.0, 400, "{body}");
    }
    let nothing = mesh.ask("POST", "/v1/dead-letters/redrive", Body::None).await;
    assert_eq!(nothing.status, 400, "a body is required: {{}} redrives all");
}

#[tokio::test]
async fn dead_letters_are_purged_by_id_and_by_filter() {
    let mesh = mesh_with_letters().await;
    let purge = async |query: &str| {
        let answer = mesh.ask("DELETE", &format!("/v1/dead-letters{query}"), Body::None).await;
        (answer.status, answer.published())
    };
    assert_eq!(purge(&format!("/{}", id(2))).await, (204, Value::Null));
    assert_eq!(purge(&format!("/{}", id(2))).await, (404, detail("Not Found")));
    for query in ["", "?limit=5", "?all=false"] {
        let expected = detail("Bad Request: expected a filter, or all=true");
        assert_eq!(purge(query).await, (400, expected), "a DELETE without a filter purges nothing");
    }
    for query in ["?module=", "?binding=", "?module=m&function=", "?modul=m&all=true"] {
        assert_eq!(purge(query).await.0, 400, "{query}");
    }
    assert_eq!((mesh.connector.letters.count(), mesh.sink.letters.count()), (3, 5));
    let purged = |purged| (200, data(json!({"purged": purged})));
    assert_eq!(purge("?role=event&limit=1").await, purged(1));
    assert_eq!(purge("?module=m&limit=3").await, purged(3));
    assert_eq!((mesh.connector.letters.count(), mesh.sink.letters.count()), (0, 4));
    assert_eq!(purge("?all=true").await, purged(3));
    assert_eq!(purge("?all=true").await, purged(0));
    assert_eq!(mesh.sink.letters.count(), 1, "root's dead letter remains");
    let all = mesh.ask_as(ROOT, "DELETE", "/v1/dead-letters?older_than=0", Body::None).await;
    assert_eq!(all.json(), data(json!({"purged": 1})));
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_named() {
    let mesh = mesh_with_letters().await;
    let away = |service: &str| detail(&format!("Service Unavailable: the {service} does not answer"));
    for (letters, service) in [(&mesh.connector.letters, "connector"), (&mesh.sink.letters, "sink service")] {
        *letters.failure.lock() = unavailable();
        let answer = mesh.ask("GET", "/v1/dead-letters", Body::None).await;
        assert_eq!((answer.status, answer.published()), (503, away(service)));
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    // The service that does not answer may have it.
    *mesh.connector.letters.failure.lock() = unavailable();
    let answer = mesh.ask("GET", &format!("/v1/dead-letters/{}", id(50)), Body::None).await;
    assert_eq!((answer.status, answer.published()), (503, away("connector")));
    *mesh.connector.letters.failure.lock() = unavailable();
    let answer = mesh.ask("GET", &format!("/v1/dead-letters/{}", id(3)), Body::None).await;
    assert_eq!(answer.status, 200, "the service that has it answers");

    // The error includes what was done before, and has no `Retry-After`: a retry would be a different
    // request.
    *mesh.sink.letters.failure.lock() = unavailable();
    let answer = send(mesh.request("POST", "/v1/dead-letters/redrive").json(&json!({}))).await;
    let words = "the sink service does not answer; before that, 4 dead letters of events were redriven";
    assert_eq!((answer.status, answer.published()), (503, detail(&format!("Service Unavailable: {words}"))));
    assert_eq!(answer.header("retry-after"), None);
}

#[tokio::test]
async fn one_service_works_without_the_other() {
    let mesh = Mesh::start_with(|config| config.connector = nowhere()).await;
    mesh.sink.letters.put(1, Sink, "", "1");
    let page = mesh.ask_as(ANN, "GET", "/v1/dead-letters?role=sink", Body::None).await;
    assert_eq!((page.status, numbers(&page.json()["data"])), (200, vec![1]));
    let answer = mesh.ask("DELETE", "/v1/dead-letters?role=sink", Body::None).await;
    assert_eq!(answer.json(), data(json!({"purged": 1})));
}
