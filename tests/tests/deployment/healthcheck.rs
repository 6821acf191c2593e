//! The command `healthcheck`, with which containers without a shell tell whether they are ready.

use std::fs;
use std::process::{Command, Output};
use std::time::Duration;

use tests::process::{Running, free_port, workspace_binary};
use tests::wait;

const TIMEOUT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_binary_tells_whether_the_service_is_ready() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret");
    fs::write(&secret, "hunter2\n").expect("a file");
    let listen = format!("127.0.0.1:{}", free_port());
    let admin = format!("127.0.0.1:{}", free_port());
    let program = || {
        let mut command = Command::new(workspace_binary("registry-svc"));
        command
            .env("FUNLESS_REGISTRY_SERVER__LISTEN", &listen)
            .env("FUNLESS_REGISTRY_SERVER__ADMIN_LISTEN", &admin)
            .env("FUNLESS_REGISTRY_SERVER__SECRET_FILE", &secret)
            .env("FUNLESS_REGISTRY_DATABASE_URL", "sqlite::memory:");
        command
    };
    let check = || -> Output { program().arg("healthcheck").output().expect("it runs") };

    let before = check();
    let said = String::from_utf8_lossy(&before.stderr);
    assert!(
        !before.status.success() && said.starts_with(&format!("error: {admin} does not answer")),
        "{said}"
    );

    let mut registry = Running::start("registry", &mut program(), &folder.path().join("log"));
    wait::until("the registry is healthy", TIMEOUT, async || check().status.success().then_some(())).await;
    registry.stop();
    assert!(!check().status.success());
}

#[test]
fn a_configuration_that_the_service_refuses_is_not_healthy() {
    let mut command = Command::new(workspace_binary("sink-svc"));
    let output = command.args(["healthcheck", "--set", "max_outbox_rows=0"]).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.starts_with("error: max_outbox_rows: expected"), "{said}");
}
