use mesh::testing::eventually;
use proto::registry::v1::{Role, Subject};

use super::detail;
use crate::support::http::{Body, send};
use crate::support::{ANN, Mesh, ROOT, nowhere};

#[tokio::test]
async fn every_documented_route_except_health_requires_a_token() {
    let mesh = Mesh::start().await;
    let document = serde_json::to_value(gateway_svc::openapi()).expect("serializable");
    let mut routes = 0;
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("methods").keys() {
            let path = path.replace(['{', '}'], "");
            let answer = send(mesh.anonymous(&method.to_uppercase(), &path)).await;
            if path == "/v1/" {
                assert_eq!(answer.status, 200);
                continue;
            }
            assert_eq!((answer.status, answer.published()), (401, detail("Unauthorized")), "{method} {path}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            routes += 1;
        }
    }
    assert_eq!(routes, 33, "the number of routes");
}

#[tokio::test]
async fn only_valid_bearer_tokens_are_accepted() {
    let mesh = Mesh::start().await;
    let basic = format!("Basic {ANN}");
    let lower = format!("bearer {ANN}");
    let cases = [
        ("Bearer nonsense", 401),
        ("Bearer ", 401),
        ("Bearer", 401),
        (basic.as_str(), 401),
        (ANN, 401),
        (lower.as_str(), 200),
    ];
    for (header, status) in cases {
        let answer = send(mesh.anonymous("GET", "/v1/fn").header("authorization", header)).await;
        assert_eq!(answer.status, status, "{header}");
    }
    let answer =
        send(mesh.anonymous("GET", "/v1/fn").header("authorization", b"Bearer \xff".as_slice())).await;
    assert_eq!(answer.status, 401, "not text");
}

#[tokio::test]
async fn an_expired_token_is_refused_even_if_cached() {
    let mesh = Mesh::start().await;
    let subject = Subject { name: "old".into(), role: Role::Subject.into(), expires_at_ms: 1 };
    mesh.registry.state.lock().tokens.insert("t".into(), "old".into());
    mesh.registry.state.lock().subjects.insert("old".into(), subject);
    assert_eq!(mesh.ask_as("t", "GET", "/v1/fn", Body::None).await.status, 401);
}

#[tokio::test]
async fn tokens_are_cached_and_revoked_ones_are_refused() {
    let mesh = Mesh::start_with(|config| config.token_cache_s = 1).await;
    let lookups = || mesh.registry.state.lock().authenticated;
    for _ in 0..20 {
        assert_eq!(mesh.ask("GET", "/v1/fn", Body::None).await.status, 200);
        mesh.ask_as("unknown", "GET", "/v1/fn", Body::None).await;
    }
    assert!(lookups() < 20, "{} lookups in the registry", lookups());

    assert_eq!(mesh.ask_as(ROOT, "DELETE", "/v1/admin/subjects/ann", Body::None).await.status, 204);
    eventually("the token is refused", async || mesh.ask("GET", "/v1/fn", Body::None).await.status == 401)
        .await;
}

#[tokio::test]
async fn without_the_registry_tokens_are_not_reported_as_invalid() {
    let mesh = Mesh::start_with(|config| config.registry = nowhere()).await;
    let answer = mesh.ask("GET", "/v1/fn", Body::None).await;
    let expected = detail("Service Unavailable: the registry cannot be reached");
    assert_eq!((answer.status, answer.published()), (503, expected));
}
