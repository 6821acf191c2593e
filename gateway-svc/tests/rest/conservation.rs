use mesh::{Error, Reason};
use proto::connector::v1::EventCounts;
use proto::sink::v1::SinkCounts;
use serde_json::json;

use super::{data, detail};
use crate::support::http::Body;
use crate::support::{ANN, Mesh, ROOT};

#[tokio::test]
async fn ledgers_are_added_up_and_differences_are_drift() {
    let mesh = Mesh::start().await;
    let good = EventCounts {
        received: 10,
        acknowledged: 7,
        in_flight: 2,
        lost: 1,
        invalid: 1,
        dead_lettered: 3,
        dead_letters: 1,
        redriven: 1,
        purged: 1,
    };
    let lossy = EventCounts {
        received: 5,
        acknowledged: 4,
        dead_lettered: 1,
        dead_letters: 2,
        ..EventCounts::default()
    };
    mesh.connector.known.lock().ledgers = vec![("m", "g", lossy), ("_", "f", good)];
    let delivered = SinkCounts { accepted: 9, delivered: 5, pending: 2, dead: 1, purged: 1 };
    mesh.sink.known.lock().ledgers =
        vec![("root", "f", SinkCounts { accepted: 1, ..delivered }), ("_", "f", delivered)];

    let counts = |received, acknowledged, dead_lettered, dead_letters| {
        json!({
            "received": received, "acknowledged": acknowledged, "in_flight": 2, "lost": 1, "invalid": 1,
            "dead_lettered": dead_lettered, "dead_letters": dead_letters, "redriven": 1,
            "purged": 1, "drift": 0, "dead_letter_drift": 0,
        })
    };
    let with = |mut counts: serde_json::Value, more: serde_json::Value| {
        let more = more.as_object().expect("an object").clone();
        counts.as_object_mut().expect("an object").extend(more);
        counts
    };
    let expected_events = json!({
        "sum": with(counts(15, 11, 4, 3), json!({"drift": 1, "dead_letter_drift": -1})),
        "bindings": [
            with(counts(10, 7, 3, 1), json!({"binding_id": "1", "binding_type": "mqtt", "module": "_", "function": "f"})),
            with(counts(5, 4, 1, 2), json!({
                "binding_id": "0", "binding_type": "mqtt", "module": "m", "function": "g", "in_flight": 0,
                "lost": 0, "invalid": 0, "redriven": 0, "purged": 0, "drift": 1, "dead_letter_drift": -1,
            })),
        ],
    });
    let sums = json!({"accepted": 9, "delivered": 5, "pending": 2, "dead": 1, "purged": 1, "drift": 0});
    let binding = json!({"binding_id": "1", "binding_type": "couchdb", "module": "_", "function": "f"});
    let expected_sinks = json!({"sum": sums, "bindings": [with(sums.clone(), binding)]});
    let answer = mesh.ask_as(ANN, "GET", "/v1/conservation", Body::None).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json(), data(json!({"events": expected_events, "sinks": expected_sinks})));

    let all = mesh.ask_as(ROOT, "GET", "/v1/conservation", Body::None).await.json();
    assert_eq!(all["data"]["sinks"]["sum"]["drift"], -8, "an administrator sees all bindings");
    assert_eq!(all["data"]["sinks"]["bindings"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn ledgers_of_one_service_alone_are_not_returned() {
    let mesh = Mesh::start().await;
    for (failure, service) in [(&mesh.connector.failure, "connector"), (&mesh.sink.failure, "sink service")] {
        *failure.lock() = Some(Error::new(Reason::Unavailable, "http://10.0.0.1"));
        let answer = mesh.ask("GET", "/v1/conservation", Body::None).await;
        let expected = detail(&format!("Service Unavailable: the {service} does not answer"));
        assert_eq!((answer.status, answer.published()), (503, expected));
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
}
