//! The profile: where a mesh is and which tokens open it. `fl up` writes it, the client commands read
//! it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use mesh::auth::Secret;

/// The profile of the mesh that runs in this folder: `fl up` writes it.
const OF_FOLDER: &str = ".funless/config";
/// The profile of a user, in the home directory.
const OF_USER: &str = ".fl/config";

/// The profile to read: the given one, that of this folder, or that of the user. It need not exist.
pub fn locate(given: Option<&Path>) -> PathBuf {
    let of_folder = PathBuf::from(OF_FOLDER);
    match given {
        Some(path) => path.to_owned(),
        None if of_folder.exists() => of_folder,
        None => of_user().unwrap_or(of_folder),
    }
}

/// The profile of the user; `None` without a home directory.
pub fn of_user() -> Option<PathBuf> {
    std::env::home_dir().map(|home| home.join(OF_USER))
}

/// The text of a profile; `None` when there is no such file.
pub fn read_text(path: &Path) -> anyhow::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// The lines of the file, `key=value`.
#[derive(Debug, Default, Clone)]
pub struct Profile {
    /// `api_host`: the REST address.
    pub api_host: Option<String>,
    /// `api_token`: the token of a subject.
    pub api_token: Option<Secret>,
    /// `admin_token`: the token of an administrator.
    pub admin_token: Option<Secret>,
}

impl Profile {
    /// Reads a profile; `None` when there is no such file.
    pub fn read(path: &Path) -> anyhow::Result<Option<Self>> {
        Ok(read_text(path)?.map(|text| Self::parse(&text)))
    }

    /// Parses lines of `key=value`. Other keys are left to other programs.
    pub fn parse(text: &str) -> Self {
        let mut profile = Self::default();
        for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
            let value = value.trim();
            match key.trim() {
                "api_host" => profile.api_host = Some(value.to_owned()),
                "api_token" => profile.api_token = Some(Secret::new(value)),
                "admin_token" => profile.admin_token = Some(Secret::new(value)),
                _ => {}
            }
        }
        profile
    }

    /// Writes the profile, readable only by its owner, all of it or nothing.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let shown =
            |secret: &Option<Secret>| secret.as_ref().map_or_else(String::new, |s| s.expose().to_owned());
        let text = format!(
            "api_host={}\napi_token={}\nadmin_token={}\n",
            self.api_host.as_deref().unwrap_or_default(),
            shown(&self.api_token),
            shown(&self.admin_token),
        );
        write_private(path, &text)
    }
}

/// Writes a file that only its owner can read, all of it or nothing.
pub fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        let temporary = path.with_extension("new");
        let _ = fs::remove_file(&temporary);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(temporary, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_written_is_read_and_private() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("config");
        assert!(Profile::read(&path).expect("readable").is_none());
        let profile = Profile {
            api_host: Some("http://127.0.0.1:4000".into()),
            api_token: Some(Secret::new("guest=")),
            admin_token: Some(Secret::new("root")),
        };
        profile.write(&path).expect("writable");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let read = Profile::read(&path).expect("readable").expect("there");
        assert_eq!((read.api_host, read.api_token, read.admin_token), {
            (profile.api_host, profile.api_token, profile.admin_token)
        });
    }
}
