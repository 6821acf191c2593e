//! The workers, for administrators.

use mesh::hash::Hash;
use proto::scheduler::v1::{ListWorkersResponse, MetricsSource, WorkerIdentity, WorkerLoad, WorkerState};
use serde_json::{Value, json};

use super::{data, detail};
use crate::support::http::Body;
use crate::support::{ANN, Mesh, ROOT};

const PATH: &str = "/v1/admin/workers";

fn busy() -> WorkerState {
    let labels = [("zone".to_owned(), "edge-1".to_owned())].into();
    let identity = WorkerIdentity {
        id: "1".into(),
        name: "near".into(),
        tag: "edge".into(),
        address: "http://10.0.0.1:4003".into(),
        labels,
    };
    let load = WorkerLoad {
        cpus: 4,
        load_1: 1.5,
        load_5: 0.5,
        load_15: 0.25,
        memory_guests: 7,
        // The worker's own report, which the fields of `WorkerState` override.
        memory_total: 1,
        memory_available: 1,
        running: 9,
        cpu_use: 0.75,
        ..WorkerLoad::default()
    };
    WorkerState {
        identity: Some(identity),
        load: Some(load),
        in_flight: 2,
        last_report_ms: 1_700_000_000_123,
        draining: false,
        memory_total: 1 << 30,
        memory_available: 1 << 20,
        cpu_use: 0.5,
        metrics_source: MetricsSource::Prometheus.into(),
        running: 3,
        running_by_tag: [("t".to_owned(), 2), (String::new(), 1)].into(),
        code_ready: vec![Hash::of(b"b").to_bytes(), Hash::of(b"a").to_bytes()],
    }
}

#[tokio::test]
async fn workers_are_shown_with_all_data_of_scheduling() {
    let mesh = Mesh::start().await;
    let identity = WorkerIdentity { id: "2".into(), name: "nat".into(), ..WorkerIdentity::default() };
    let new = WorkerState {
        identity: Some(identity),
        draining: true,
        metrics_source: MetricsSource::Reports.into(),
        ..WorkerState::default()
    };
    let metrics_problem = "prometheus does not answer".to_owned();
    mesh.scheduler.state.lock().workers =
        Some(ListWorkersResponse { workers: vec![busy(), new], metrics_problem: metrics_problem.clone() });
    let mut warm = [Hash::of(b"b").to_string(), Hash::of(b"a").to_string()];
    warm.sort();
    let busy = json!({
        "name": "near", "id": "1", "tag": "edge", "labels": {"zone": "edge-1"}, "address": "http://10.0.0.1:4003",
        "memory": {"total": 1 << 30, "available": 1 << 20, "guests": 7},
        "cpus": 4, "cpu_use": 0.5, "load_1": 1.5, "load_5": 0.5, "load_15": 0.25,
        "running": 3, "running_by_tag": {"": 1, "t": 2}, "in_flight": 2, "draining": false,
        "metrics_source": "prometheus", "last_report_at": "2023-11-14T22:13:20.123Z",
        "warm_count": 2, "warm": warm,
    });
    let new = json!({
        "name": "nat", "id": "2", "tag": "", "labels": {}, "address": null,
        "memory": {"total": null, "available": null, "guests": 0},
        "cpus": 0, "cpu_use": 0.0, "load_1": 0.0, "load_5": 0.0, "load_15": 0.0,
        "running": 0, "running_by_tag": {}, "in_flight": 0, "draining": true,
        "metrics_source": "reports", "last_report_at": null, "warm_count": 0, "warm": [],
    });
    let answer = mesh.ask_as(ROOT, "GET", PATH, Body::None).await;
    let expected = json!({"workers": [busy, new], "metrics_problem": metrics_problem});
    assert_eq!((answer.status, answer.published()), (200, data(expected)));
}

#[tokio::test]
async fn only_administrators_list_workers() {
    let mesh = Mesh::start().await;
    let answer = mesh.ask_as(ANN, "GET", PATH, Body::None).await;
    assert_eq!((answer.status, answer.published()), (401, detail("Unauthorized")));
    let answer = mesh.ask_as(ROOT, "GET", PATH, Body::None).await;
    assert_eq!((answer.status, &answer.json()["data"]["metrics_problem"]), (200, &Value::Null));
}
