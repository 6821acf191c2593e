//! The data directory: tokens, the encryption key, databases. Whoever could put files there would be an administrator,
//! so it and its secrets have to belong to this user.

use std::fs::{self, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use mesh::auth::Secret;

use crate::profile::{Profile, write_private};

const CONFIG: &str = "config";
const ENCRYPTION_KEY: &str = "encryption-key";
const LOCK: &str = "lock";

/// Write permission of the group and of others.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// Any permission of theirs.
const ACCESSIBLE_BY_OTHERS: u32 = 0o077;

/// Creates the directory for its owner only, unless it exists. One that others can use is refused, but for an empty
/// one, from which they are excluded.
pub(super) fn prepare(dir: &Path) -> anyhow::Result<()> {
    let unusable = || format!("--data-dir: cannot use {}", dir.display());
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).with_context(unusable)?;
    let metadata = fs::metadata(dir).with_context(unusable)?;
    check_owner(&metadata).map_err(|problem| anyhow::anyhow!("--data-dir: {} {problem}", dir.display()))?;
    if metadata.mode() & ACCESSIBLE_BY_OTHERS != 0 {
        let is_empty = fs::read_dir(dir).with_context(unusable)?.next().is_none();
        ensure!(is_empty, "--data-dir: {0} can be used by others; run chmod 700 {0}", dir.display());
        fs::set_permissions(dir, Permissions::from_mode(0o700)).with_context(unusable)?;
    }
    Ok(())
}

/// Locks the directory until the returned file is dropped: two meshes would overwrite each other's tokens.
pub(super) fn lock(dir: &Path) -> anyhow::Result<File> {
    let path = dir.join(LOCK);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(NO_SYMLINKS);
    let file = options.open(&path).with_context(|| format!("cannot create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("another mesh runs on {}; stop it, or give this one its own --data-dir", dir.display())
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

/// The profile with the tokens of the mesh, which are generated at the first start.
pub(super) fn profile(dir: &Path, api_host: String) -> anyhow::Result<Profile> {
    let path = dir.join(CONFIG);
    let (api_token, admin_token) = match read_own(&path)?.map(|text| Profile::parse(&text)) {
        None => (new_token(), new_token()),
        Some(Profile { api_token: Some(api_token), admin_token: Some(admin_token), .. })
            if !api_token.expose().is_empty() && !admin_token.expose().is_empty() =>
        {
            (api_token, admin_token)
        }
        Some(_) => bail!(
            "{} has no api_token or no admin_token; restore it, or delete it to get new tokens",
            path.display()
        ),
    };
    let profile =
        Profile { api_host: Some(api_host), api_token: Some(api_token), admin_token: Some(admin_token) };
    profile.write(&path)?;
    Ok(profile)
}

fn new_token() -> Secret {
    Secret::new(format!("fl_{}", Secret::random().expose()))
}

/// The key with which the registry encrypts the parameters of bindings. Generated at the first start.
pub(super) fn encryption_key(dir: &Path) -> anyhow::Result<Secret> {
    let path = dir.join(ENCRYPTION_KEY);
    let Some(text) = read_own(&path)? else {
        let key = Secret::random();
        write_private(&path, &format!("{}\n", key.expose()))?;
        return Ok(key);
    };
    let key = text.trim();
    ensure!(
        key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{} is not a key of 64 hexadecimal digits; restore it: without it, the parameters of stored events and sinks \
         cannot be decrypted",
        path.display()
    );
    Ok(Secret::new(key))
}

/// Do not follow a symbolic link in the last component of a path.
const NO_SYMLINKS: i32 = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();

/// Reads a file that only this user can write; `None` if it does not exist.
fn read_own(path: &Path) -> anyhow::Result<Option<String>> {
    let cannot_read = || format!("cannot read {}", path.display());
    let mut file = match OpenOptions::new().read(true).custom_flags(NO_SYMLINKS).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(cannot_read),
    };
    check_owner(&file.metadata().with_context(cannot_read)?)
        .map_err(|problem| anyhow::anyhow!("{} {problem}", path.display()))?;
    let mut text = String::new();
    file.read_to_string(&mut text).with_context(cannot_read)?;
    Ok(Some(text))
}

fn check_owner(metadata: &Metadata) -> Result<(), String> {
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user {
        return Err(format!("belongs to the user {}, not to {user}, who runs this", metadata.uid()));
    }
    if metadata.mode() & WRITABLE_BY_OTHERS != 0 {
        return Err("can be written by others; check what is in it, then run chmod go-w on it".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("ours");
    }

    #[test]
    fn secrets_are_generated_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = dir.path().join("data");
        prepare(&dir).expect("a new directory");
        assert_eq!(fs::metadata(&dir).expect("created").mode() & 0o777, 0o700);
        prepare(&dir).expect("it exists");
        let tokens = || {
            let profile = profile(&dir, "http://127.0.0.1:4000".into()).expect("a profile");
            (profile.api_token, profile.admin_token)
        };
        assert_eq!(tokens(), tokens());
        assert_eq!(encryption_key(&dir).expect("a key"), encryption_key(&dir).expect("the same"));
    }

    #[test]
    fn what_others_can_use_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        set_mode(dir.path(), 0o777);
        let error = prepare(dir.path()).expect_err("open to all");
        assert!(error.to_string().contains("can be written by others"), "{error}");
        set_mode(dir.path(), 0o755);
        prepare(dir.path()).expect("nothing is in it");
        assert_eq!(fs::metadata(dir.path()).expect("there").mode() & 0o777, 0o700);

        let config = dir.path().join(CONFIG);
        fs::write(&config, "").expect("written");
        for mode in [0o755, 0o750, 0o701] {
            set_mode(dir.path(), mode);
            let error = prepare(dir.path()).expect_err("others can use it");
            assert!(error.to_string().contains("can be used by others; run chmod 700"), "{error}");
        }
        fs::write(&config, "api_token=planted\nadmin_token=planted\n").expect("written");
        set_mode(&config, 0o666);
        let error = profile(dir.path(), String::new()).expect_err("open to all");
        assert!(error.to_string().contains("config can be written by others"), "{error}");
        if rustix::process::geteuid().is_root() {
            set_mode(&config, 0o600);
            std::os::unix::fs::chown(&config, Some(12_345), None).expect("we are root");
            let error = profile(dir.path(), String::new()).expect_err("a stranger's");
            assert!(error.to_string().contains("belongs to the user 12345"), "{error}");
        }
    }

    #[test]
    fn planted_links_are_not_followed() {
        let dir = tempfile::tempdir().expect("a directory");
        let target = dir.path().join("target");
        fs::write(&target, "precious").expect("written");
        for name in [LOCK, CONFIG, ENCRYPTION_KEY] {
            symlink(&target, dir.path().join(name)).expect("linked");
        }
        lock(dir.path()).expect_err("a link");
        profile(dir.path(), String::new()).expect_err("a link");
        encryption_key(dir.path()).expect_err("a link");
        assert_eq!(fs::read_to_string(&target).expect("there"), "precious");
    }

    #[test]
    fn damaged_files_are_refused_and_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        for text in ["", "api_token=only\n", "api_token=\nadmin_token=\n"] {
            fs::write(dir.path().join(CONFIG), text).expect("written");
            let error = profile(dir.path(), String::new()).expect_err(text);
            assert!(error.to_string().contains("delete it to get new tokens"), "{error}");
            assert_eq!(fs::read_to_string(dir.path().join(CONFIG)).expect("there"), text);
        }
        for text in ["", "\n", "short", &"x".repeat(64)] {
            fs::write(dir.path().join(ENCRYPTION_KEY), text).expect("written");
            let error = encryption_key(dir.path()).expect_err(text);
            assert!(error.to_string().contains("64 hexadecimal digits"), "{error}");
            assert_eq!(fs::read_to_string(dir.path().join(ENCRYPTION_KEY)).expect("there"), text);
        }
    }

    #[test]
    fn a_directory_is_locked_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = lock(dir.path()).expect("free");
        lock(dir.path()).expect_err("locked");
        drop(first);
        lock(dir.path()).expect("free again");
    }
}
