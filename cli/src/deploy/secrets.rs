//! The secrets of the compose file, as `deploy/compose/make-secrets` makes them, without the programs that it takes.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::Context as _;
use mesh::auth::Secret;

/// Those that are random.
const RANDOM: [&str; 6] =
    ["secret", "admin-token", "encryption-key", "database-password", "couchdb-password", "grafana-password"];

/// Makes the secrets that are missing.
pub fn make(folder: &Path) -> anyhow::Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("cannot create {}", folder.display()))?;
    for name in RANDOM {
        write_new(&folder.join(name), Secret::random().expose())?;
    }
    let password = folder.join("database-password");
    let password =
        fs::read_to_string(&password).with_context(|| format!("cannot read {}", password.display()))?;
    write_new(
        &folder.join("database-url"),
        &format!("postgres://funless:{}@postgres/funless", password.trim()),
    )
}

/// Writes a file unless there is one.
fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    // Containers read the file as another user; the folder is closed to all others.
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(path);
    let written = match file {
        Ok(mut file) => writeln!(file, "{text}"),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    };
    written.with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::unix::fs::PermissionsExt as _;

    use serde_json::Value;

    use super::super::embedded::FILES;
    use super::*;

    #[test]
    fn the_secrets_of_the_compose_file_are_made_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let secrets = folder.path().join("secrets");
        make(&secrets).expect("made");
        assert_eq!(fs::metadata(&secrets).expect("there").permissions().mode() & 0o777, 0o700);
        let read = || {
            let files =
                fs::read_dir(&secrets).expect("a folder").map(|entry| entry.expect("an entry").path());
            files.map(|path| (path.clone(), fs::read_to_string(path).expect("text"))).collect::<BTreeSet<_>>()
        };
        let first = read();
        make(&secrets).expect("they are there");
        assert_eq!(read(), first, "secrets are kept");
        let password = fs::read_to_string(secrets.join("database-password")).expect("text");
        let url = fs::read_to_string(secrets.join("database-url")).expect("text");
        assert_eq!(url, format!("postgres://funless:{}@postgres/funless\n", password.trim()));

        let (_, compose) = FILES.iter().find(|(path, _)| *path == "compose/compose.yaml").expect("a file");
        let compose: Value = serde_saphyr::from_str(compose).expect("YAML");
        for secret in compose["secrets"].as_object().expect("secrets").values() {
            let file = folder.path().join(secret["file"].as_str().expect("a file"));
            assert!(file.exists(), "{}", file.display());
        }
    }
}
