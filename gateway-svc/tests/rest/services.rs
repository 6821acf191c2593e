use serde_json::{Value, json};

use crate::support::http::Body;
use crate::support::{ANN, Mesh, nowhere};

async fn status(mesh: &Mesh) -> Value {
    let answer = mesh.ask_as(ANN, "GET", "/v1/status", Body::None).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["data"].clone()
}

#[tokio::test]
async fn services_say_how_they_are() {
    let mesh = Mesh::start_with(|config| config.sink = nowhere()).await;
    let status = status(&mesh).await;
    let service = |name: &str| {
        let services = status["services"].as_array().expect("a list");
        services.iter().find(|service| service["name"] == name).expect(name).clone()
    };
    for name in ["gateway", "registry", "scheduler", "connector"] {
        let ready =
            json!({"name": name, "state": "ready", "version": env!("CARGO_PKG_VERSION"), "waits_for": []});
        assert_eq!(service(name), ready);
    }
    let sink = json!({"name": "sink", "state": "unreachable", "version": null, "waits_for": []});
    assert_eq!(service("sink"), sink);
    assert_eq!(status["workers"]["draining"], 0, "{status}");
}
