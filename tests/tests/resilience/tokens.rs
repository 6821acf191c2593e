//! The tokens of a mesh.

use tests::{Mesh, Shape};

/// Whoever chooses an administrator's token that can be guessed is told so, and not only once.
pub async fn a_weak_token_is_a_warning_at_each_start(shape: Shape) {
    const WARNING: &str = "admin_token has at most";
    let mut mesh = Mesh::start(shape).await;
    assert!(!mesh.log().contains(WARNING), "the tokens that it makes are strong");
    let profile = mesh.data_dir().join("config");
    let text = std::fs::read_to_string(&profile).expect("fl up has written it");
    let lines =
        text.lines().map(|line| if line.starts_with("admin_token=") { "admin_token=x" } else { line });
    std::fs::write(&profile, lines.collect::<Vec<_>>().join("\n")).expect("it is ours");
    for starts in 1..=2 {
        mesh.restart().await;
        let log = mesh.log();
        assert_eq!(log.matches(WARNING).count(), starts, "{log}");
        assert!(log.contains("openssl rand -hex 32"), "it says what to do: {log}");
    }
    mesh.admin().get("/v1/admin/subjects").await.expect(200);
}
