//! Compiled code on disk: `<cache_dir>/<engine>/<hash of the code>.cwasm`.
//!
//! `<engine>` is a hash of everything that decides whether this engine can load an artifact: its version,
//! its settings, the processor. An artifact is machine code, so none is ever taken from the network, and the
//! folder must belong to the worker's user alone. A SHA3-256 at an artifact's end reveals a damaged one.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use mesh::hash::{Hash, Hasher};
use wasmtime::{Engine, Module};

const EXTENSION: &str = "cwasm";
/// The age at which artifacts of other engines are removed.
const FOREIGN_AGE: Duration = Duration::from_secs(30 * 24 * 3600);

/// The artifacts of one engine.
#[derive(Clone)]
pub(crate) struct Artifacts {
    dir: PathBuf,
    engine: Engine,
}

impl Artifacts {
    /// Creates the folder for this engine's artifacts if it is missing. Refuses one that other users own or may
    /// write to.
    pub(crate) fn open(cache_dir: &Path, engine: Engine) -> anyhow::Result<Self> {
        let dir = cache_dir.join(compatibility(&engine).to_string());
        make_dir(&dir).with_context(|| format!("cache_dir: cannot create {}", dir.display()))?;
        // A file of this process tells which user runs it.
        let probe = dir.join(format!("{}.probe", uuid::Uuid::now_v7()));
        let user = write_file(&probe, &[b""]).and_then(|()| fs::metadata(&probe));
        let user = user.with_context(|| format!("cache_dir: cannot write to {}", dir.display()))?.uid();
        fs::remove_file(&probe)?;
        for part in [cache_dir, &dir] {
            let found = fs::metadata(part).with_context(|| format!("cache_dir: {}", part.display()))?;
            anyhow::ensure!(
                found.uid() == user && found.mode() & 0o022 == 0,
                "cache_dir: {} must belong to the user {user}, who runs the worker, and be writable by no other; \
                 it belongs to {} with mode {:o}",
                part.display(),
                found.uid(),
                found.mode() & 0o7777,
            );
        }
        remove_foreign(cache_dir, &dir);
        Ok(Self { dir, engine })
    }

    /// Loads the artifact of this code, if there is one. Removes one that cannot be loaded. Blocks.
    pub(crate) fn load(&self, code: &Hash) -> Option<Module> {
        let path = self.path(code);
        match self.load_file(&path) {
            Ok(module) => Some(module),
            Err(error) if error.downcast_ref().map(io::Error::kind) == Some(io::ErrorKind::NotFound) => None,
            Err(error) => {
                tracing::warn!(%code, %error, "a compiled artifact is damaged; compiling again");
                self.remove(code);
                None
            }
        }
    }

    fn load_file(&self, path: &Path) -> anyhow::Result<Module> {
        let mut file = File::open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let (artifact, seal) = bytes.split_last_chunk::<32>().context("it is too short")?;
        anyhow::ensure!(Hash::of(artifact).as_bytes() == seal, "its hash does not match");
        self.deserialize(file)
    }

    #[expect(unsafe_code, reason = "machine code is run as it is; see the safety comment")]
    fn deserialize(&self, file: File) -> anyhow::Result<Module> {
        // SAFETY: the file was written by `store` from the same engine's compiler: its directory is
        // named after the engine and has been writable by this user only, and its hash was verified
        // just now. Files are replaced whole, never written in place.
        let module = unsafe { Module::deserialize_open_file(&self.engine, file) };
        module.map_err(|error| anyhow::anyhow!("{error:#}"))
    }

    /// Stores an artifact. Blocks.
    pub(crate) fn store(&self, code: &Hash, artifact: &[u8]) -> io::Result<()> {
        make_dir(&self.dir)?;
        let temporary = self.dir.join(format!("{}.tmp", uuid::Uuid::now_v7()));
        let stored = write_file(&temporary, &[artifact, Hash::of(artifact).as_bytes()])
            .and_then(|()| fs::rename(&temporary, self.path(code)));
        if stored.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        stored
    }

    /// Removes all artifacts but those of `used` code. Blocks.
    pub(crate) fn retain(&self, used: impl Fn(&Hash) -> bool) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            if let Some(code) = code_of(&path)
                && !used(&code)
            {
                let _ = fs::remove_file(path);
            }
        }
    }

    /// Removes an artifact, if it is there. Blocks.
    pub(crate) fn remove(&self, code: &Hash) {
        if let Err(error) = fs::remove_file(self.path(code))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%code, %error, "cannot remove a compiled artifact");
        }
    }

    fn path(&self, code: &Hash) -> PathBuf {
        self.dir.join(format!("{code}.{EXTENSION}"))
    }
}

/// The hash in an artifact's file name.
fn code_of(path: &Path) -> Option<Hash> {
    let name = path.extension().filter(|extension| *extension == EXTENSION).and(path.file_stem())?;
    let bytes = hex::decode(name.to_str()?).ok()?;
    Hash::try_from(bytes.as_slice()).ok()
}

fn make_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn write_file(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    // The umask may be permissive.
    file.set_permissions(Permissions::from_mode(0o600))?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()
}

/// Removes old artifacts of engines of other versions or settings.
fn remove_foreign(cache_dir: &Path, own: &Path) {
    let Ok(entries) = fs::read_dir(cache_dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let is_engines = entry.file_name().to_str().is_some_and(|name| hex::decode(name).is_ok());
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let old = modified.ok().and_then(|at| at.elapsed().ok()).is_some_and(|age| age > FOREIGN_AGE);
        if is_engines && old && path != own {
            tracing::info!(path = %path.display(), "removing compiled code of another engine");
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// A hash, stable between processes, of everything that decides whether `engine` can load an artifact.
fn compatibility(engine: &Engine) -> Hash {
    #[derive(Default)]
    struct Stable(Hasher);
    impl std::hash::Hasher for Stable {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut stable = Stable::default();
    std::hash::Hash::hash(&engine.precompile_compatibility_hash(), &mut stable);
    stable.0.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(engine: &Engine) -> (Hash, Vec<u8>) {
        let code = wat::parse_str(r#"(module (func (export "f")))"#).expect("well-formed");
        (Hash::of(&code), engine.precompile_module(&code).expect("compiles"))
    }

    fn open(dir: &Path) -> anyhow::Result<Artifacts> {
        Artifacts::open(&dir.join("cache"), Engine::default())
    }

    #[test]
    fn damaged_artifacts_are_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let artifacts = open(dir.path()).expect("opens");
        let (code, artifact) = compiled(&artifacts.engine);
        assert!(artifacts.load(&code).is_none());
        artifacts.store(&code, &artifact).expect("stores");
        let path = artifacts.path(&code);
        let mode = |path: &Path| fs::metadata(path).expect("is there").mode() & 0o777;
        assert_eq!((mode(&path), mode(&artifacts.dir)), (0o600, 0o700));
        assert!(open(dir.path()).expect("opens again").load(&code).is_some(), "another process finds it");

        let whole = fs::read(&path).expect("readable");
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        for damaged in [&whole[..whole.len() - 1], &whole[..10], &[], &flipped] {
            fs::write(&path, damaged).expect("writable");
            assert!(artifacts.load(&code).is_none());
            assert!(!path.exists());
        }
    }

    #[test]
    fn what_is_not_used_goes() {
        let dir = tempfile::tempdir().expect("a directory");
        let artifacts = open(dir.path()).expect("opens");
        let (code, artifact) = compiled(&artifacts.engine);
        let other = Hash::of(b"other");
        artifacts.store(&code, &artifact).expect("stores");
        artifacts.store(&other, &artifact).expect("stores");
        artifacts.retain(|hash| *hash == code);
        assert!(artifacts.load(&code).is_some() && artifacts.load(&other).is_none());
        artifacts.remove(&code);
        artifacts.remove(&code);
        assert!(artifacts.load(&code).is_none());
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let artifacts = open(dir.path()).expect("opens");
        for exposed in [dir.path().join("cache"), artifacts.dir] {
            fs::set_permissions(&exposed, Permissions::from_mode(0o777)).expect("ours");
            let error = open(dir.path()).err().expect("refused").to_string();
            assert!(error.starts_with("cache_dir: ") && error.contains("mode 777"), "{error}");
            fs::set_permissions(&exposed, Permissions::from_mode(0o700)).expect("ours");
        }
    }
}
