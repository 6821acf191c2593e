//! After restarts the data is kept, and work resumes without intervention.

use std::time::Duration;

use serde_json::json;
use tests::process::{Signal, send_signal};
use tests::{Client, Mesh, Shape, guests, wait};

const RECOVERY: Duration = Duration::from_secs(20);
const SERVICES: [&str; 6] = ["registry", "scheduler", "worker", "gateway", "connector", "sink"];

pub async fn everything_survives_a_restart(shape: Shape) {
    let mut mesh = Mesh::start(shape).await;
    let subject = mesh.admin().create_subject("keeper").await;
    let (user_token, admin_token) =
        (mesh.user().token().map(str::to_owned), mesh.admin().token().map(str::to_owned));
    subject.create_module("kept").await;
    subject.create_function("kept", "hello", &guests::hello()).await;
    subject.update_function("kept", "hello", &guests::echo()).await;
    for _ in 0..2 {
        mesh.restart().await;
        assert_eq!(mesh.user().token(), user_token.as_deref());
        assert_eq!(mesh.admin().token(), admin_token.as_deref());
        works(&subject).await;
        let modules = subject.get("/v1/fn").await.expect(200).json();
        assert_eq!(modules, json!({ "data": [{ "name": "_" }, { "name": "kept" }] }));
        let listed = mesh.admin().get("/v1/admin/subjects").await.expect(200).text;
        assert!(listed.contains("keeper"), "{listed}");
    }
}

/// Kills each service in two different orders, and stops each one gracefully in a third order.
pub async fn services_restart_in_any_order(shape: Shape) {
    let mesh = Mesh::start(shape).await;
    let subject = mesh_with_function(&mesh).await;
    let reversed = SERVICES.iter().rev();
    let shuffled = [2, 0, 3, 5, 1, 4].map(|index| SERVICES[index]);
    let killed = SERVICES.iter().chain(reversed).map(|service| (*service, Signal::KILL));
    for (service, signal) in killed.chain(shuffled.map(|service| (service, Signal::TERM))) {
        mesh.restart_service(service, signal).await;
        recovered(&subject, service).await;
        works(&subject).await;
        // Writes work, too, and are visible immediately.
        subject.update_function("kept", "hello", &guests::hello()).await;
        let answer = subject.result("kept", "hello", json!({ "name": "N" })).await;
        assert_eq!(answer, json!({ "payload": "Hello N!" }), "after {service}");
        subject.update_function("kept", "hello", &guests::echo()).await;
    }
}

pub async fn all_services_die_at_once(shape: Shape) {
    let mesh = Mesh::start(shape).await;
    let subject = mesh_with_function(&mesh).await;
    let before = mesh.services();
    for service in before.values() {
        send_signal(service.pid.expect("the service runs"), Signal::KILL);
    }
    wait::until("all services are restarted", RECOVERY, async || {
        let now = mesh.services();
        now.iter()
            .all(|(name, service)| service.pid.is_some() && service.pid != before[name].pid)
            .then_some(())
    })
    .await;
    recovered(&subject, "all services").await;
    works(&subject).await;
}

/// When the supervisor is killed, its services exit, too, and their ports become free.
pub async fn a_killed_supervisor_leaves_nothing_behind(shape: Shape) {
    let mut mesh = Mesh::start(shape).await;
    let subject = mesh_with_function(&mesh).await;
    let before: Vec<u32> = mesh.services().values().filter_map(|service| service.pid).collect();
    assert_eq!(before.len(), SERVICES.len());
    mesh.die_and_start_again().await;
    works(&subject).await;
    wait::until("the old services have exited", RECOVERY, async || {
        let alive = |pid: &u32| std::path::Path::new(&format!("/proc/{pid}")).exists();
        (!before.iter().any(alive)).then_some(())
    })
    .await;
    works(&subject).await;
}

async fn mesh_with_function(mesh: &Mesh) -> Client {
    let subject = mesh.admin().create_subject("keeper").await;
    subject.create_module("kept").await;
    subject.create_function("kept", "hello", &guests::echo()).await;
    subject
}

/// Waits until invocations, and then reads, resume. Until then they are refused with an error message. The registry is
/// not needed for invocations.
async fn recovered(subject: &Client, what: &str) {
    for (method, path) in [(http::Method::POST, "/v1/fn/kept/hello"), (http::Method::GET, "/v1/fn/kept")] {
        let is_needed = what != "registry" || method == http::Method::GET;
        wait::until(&format!("{method} resumes after {what} died"), RECOVERY, async || {
            let Ok(answer) = subject.try_send(subject.request(method.clone(), path)).await else {
                return None;
            };
            if answer.status == 200 {
                return Some(());
            }
            let refused = matches!(answer.status, 503 | 504) && is_needed;
            assert!(refused, "{method} without {what}: {} {}", answer.status, answer.text);
            assert!(!answer.detail().is_empty());
            None
        })
        .await;
    }
}

async fn works(subject: &Client) {
    assert_eq!(subject.result("kept", "hello", json!({ "a": 1 })).await, json!({ "a": 1 }));
    let module = subject.get("/v1/fn/kept").await.expect(200).json();
    assert_eq!(module["data"]["functions"][0]["name"], "hello", "{module}");
}
