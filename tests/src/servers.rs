//! Real servers, each on a free port with its data in a temporary folder.

mod couch;
mod mosquitto;
mod nats;
mod postgres;
mod prometheus;

pub use couch::Couch;
pub use mosquitto::Mosquitto;
pub use nats::Nats;
pub use postgres::Postgres;
pub use prometheus::Prometheus;

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use tempfile::TempDir;

/// How long a server may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A folder that other users can enter, for servers that refuse to run as root.
fn public_folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("funless-").tempdir().expect("a temporary folder");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).expect("failed to set permissions");
    folder
}

/// Whether the response from this URL is successful.
async fn answers(url: &str) -> bool {
    crate::client::http().get(url).send().await.is_ok_and(|answer| answer.status().is_success())
}
