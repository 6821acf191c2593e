//! The logs of the services of `fl up --mesh`.

use std::collections::BTreeSet;

use serde_json::Value;
use tests::{Mesh, Shape};

pub async fn a_clean_stop_loses_no_worker(shape: Shape) {
    let log = log_of_a_short_life(shape).await;
    assert_eq!(log.matches("worker left").count(), 2, "{log}");
    assert!(!log.contains("worker is lost"), "{log}");
}

/// Without a terminal, log lines are JSON.
pub async fn lines_in_a_file_are_json_and_name_their_service(shape: Shape) {
    let log = log_of_a_short_life(shape).await;
    assert!(!log.contains('\x1b'), "colours are for terminals: {log}");
    let mut services = BTreeSet::new();
    // Lines for people look different.
    for line in log.lines().filter(|line| line.contains("\"level\"") || line.contains(" | ")) {
        let parsed: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line.matches("\"service\":").count() <= 1, "a line names its service once: {line}");
        // A line without a service is from the supervisor.
        services.extend(parsed["service"].as_str().map(str::to_owned));
    }
    let all = ["connector", "gateway", "registry", "scheduler", "sink", "worker", "worker-2"];
    assert_eq!(services, all.map(str::to_owned).into(), "{log}");
}

async fn log_of_a_short_life(shape: Shape) -> String {
    let mut mesh = Mesh::start(shape).await;
    mesh.ask_to_stop();
    assert!(mesh.ended().await.success());
    mesh.log()
}
