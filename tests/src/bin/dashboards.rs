//! Writes `deploy/grafana/dashboards`; run it with `scripts/dashboards`.

use tests::process::repository;

fn main() -> std::io::Result<()> {
    let folder = repository().join("deploy/grafana/dashboards");
    for (file, text) in tests::dashboards::all() {
        std::fs::write(folder.join(file), text)?;
    }
    Ok(())
}
