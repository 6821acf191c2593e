//! The tokens of a mesh.

use tests::{Mesh, Shape};

/// A weak administrator token is logged as a warning at each start.
pub async fn a_weak_token_is_a_warning_at_each_start(shape: Shape) {
    const WARNING: &str = "admin_token has at most";
    let mut mesh = Mesh::start(shape).await;
    assert!(!mesh.log().contains(WARNING), "generated tokens are strong");
    let profile = mesh.data_dir().join("config");
    let text = std::fs::read_to_string(&profile).expect("the config file");
    let lines =
        text.lines().map(|line| if line.starts_with("admin_token=") { "admin_token=x" } else { line });
    std::fs::write(&profile, lines.collect::<Vec<_>>().join("\n")).expect("failed to write the config file");
    for starts in 1..=2 {
        mesh.restart().await;
        let log = mesh.log();
        assert_eq!(log.matches(WARNING).count(), starts, "{log}");
        assert!(log.contains("openssl rand -hex 32"), "the warning suggests a fix: {log}");
    }
    mesh.admin().get("/v1/admin/subjects").await.expect(200);
}
