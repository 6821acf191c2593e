//! Compiled code on disk: `<cache_dir>/<engine>/<hash of the code>.cwasm`.
//!
//! `<engine>` is a hash of everything that decides whether this engine can load an artifact: its version,
//! its settings, the processor. An artifact is machine code, so none is ever taken from the network, and the
//! folder must belong to the worker's user alone. A SHA3-256 over the hash of the code and the artifact, at the
//! artifact's end, reveals one that is damaged or that belongs to other code.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use mesh::hash::{Hash, Hasher};
use wasmtime::{Engine, Module};

const EXTENSION: &str = "cwasm";
/// The format of the files.
const FORMAT: &[u8] = b"artifact, seal of code and artifact";
const SEAL_BYTES: u64 = 32;
const COPIED_BYTES: usize = 64 << 10;
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
        let user = create_file(&probe).and_then(|file| file.metadata());
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
        match self.load_file(code, &path) {
            Ok(module) => Some(module),
            Err(error) if error.downcast_ref().map(io::Error::kind) == Some(io::ErrorKind::NotFound) => None,
            Err(error) => {
                tracing::warn!(%code, %error, "a compiled artifact is damaged, or of other code; compiling again");
                self.remove(code);
                None
            }
        }
    }

    fn load_file(&self, code: &Hash, path: &Path) -> anyhow::Result<Module> {
        let mut file = File::open(path)?;
        let artifact_bytes = file.metadata()?.len().checked_sub(SEAL_BYTES).context("it is too short")?;
        let mut hasher = hasher_for(code);
        copy_hashed(&mut (&file).take(artifact_bytes), &mut io::sink(), &mut hasher)?;
        let mut seal = [0; SEAL_BYTES as usize];
        file.read_exact(&mut seal)?;
        anyhow::ensure!(hasher.finish().as_bytes() == &seal, "its hash does not match");
        self.deserialize(file)
    }

    #[expect(unsafe_code, reason = "machine code is run as it is; see the safety comment")]
    fn deserialize(&self, file: File) -> anyhow::Result<Module> {
        // SAFETY: the file is what the compiler of the same engine wrote: either just now, into a file without a
        // name, or `store` has copied it. That one's directory is named after the engine and has been writable by
        // this user only, and its hash, which binds it to its code, was verified just now. Files are replaced
        // whole, never written in place.
        let module = unsafe { Module::deserialize_open_file(&self.engine, file) };
        module.map_err(|error| anyhow::anyhow!("{error:#}"))
    }

    /// Loads an artifact that the compiler has written to `file`, and stores it. One that cannot be stored is not
    /// a failure. Blocks.
    pub(crate) fn keep(&self, code: &Hash, mut file: File) -> anyhow::Result<Module> {
        // Fails if the module does not fit into the engine's pool.
        let module = self.deserialize(file.try_clone()?)?;
        match self.store(code, &mut file) {
            // Mapped from its file on disk: its clean pages cost no memory.
            Ok(()) => Ok(self.load(code).unwrap_or(module)),
            Err(error) => {
                tracing::warn!(%code, %error, "cannot store a compiled artifact");
                Ok(module)
            }
        }
    }

    fn store(&self, code: &Hash, artifact: &mut File) -> io::Result<()> {
        make_dir(&self.dir)?;
        artifact.seek(SeekFrom::Start(0))?;
        replace_file(&self.path(code), |file| {
            let mut hasher = hasher_for(code);
            copy_hashed(artifact, file, &mut hasher)?;
            file.write_all(hasher.finish().as_bytes())
        })
    }

    /// Removes all artifacts but those of `used` code. Blocks.
    pub(crate) fn retain(&self, used: impl Fn(&Hash) -> bool) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            if let Some(code) = code_of(&path, EXTENSION)
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

    /// The folder of this engine's artifacts.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The hash of everything that decides whether an engine can load these artifacts.
    pub(super) fn compatibility(&self) -> Hash {
        compatibility(&self.engine)
    }

    fn path(&self, code: &Hash) -> PathBuf {
        path_in(&self.dir, code, EXTENSION)
    }
}

/// A hasher for the artifact of this code.
fn hasher_for(code: &Hash) -> Hasher {
    let mut hasher = Hasher::default();
    hasher.update(code.as_bytes());
    hasher
}

/// Copies all of `from`, which is hashed, in pieces: an artifact may be larger than the memory for it.
fn copy_hashed(from: &mut impl Read, to: &mut impl io::Write, hasher: &mut Hasher) -> io::Result<()> {
    let mut piece = vec![0; COPIED_BYTES];
    loop {
        let read = match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&piece[..read]);
        to.write_all(&piece[..read])?;
    }
}

/// The file about this code in `dir`.
pub(super) fn path_in(dir: &Path, code: &Hash, extension: &str) -> PathBuf {
    dir.join(format!("{code}.{extension}"))
}

/// The hash in the name of a file with this extension.
pub(super) fn code_of(path: &Path, extension: &str) -> Option<Hash> {
    let name = path.extension().filter(|found| *found == extension).and(path.file_stem())?;
    let bytes = hex::decode(name.to_str()?).ok()?;
    Hash::try_from(bytes.as_slice()).ok()
}

fn make_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn create_file(path: &Path) -> io::Result<File> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    // The umask may be permissive.
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

/// Replaces a file by one that `write` writes, all of it or nothing.
pub(super) fn replace_file(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let temporary = path.with_file_name(format!("{}.tmp", uuid::Uuid::now_v7()));
    let replaced = create_file(&temporary).and_then(|mut file| {
        write(&mut file)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    });
    if replaced.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    replaced
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
pub(super) fn compatibility(engine: &Engine) -> Hash {
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
    stable.0.update(FORMAT);
    stable.0.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compiles a function and keeps its artifact.
    fn keep(artifacts: &Artifacts, wat: &str) -> Hash {
        let code = wat::parse_str(wat).expect("well-formed");
        let hash = Hash::of(&code);
        let mut file = tempfile::tempfile().expect("a file");
        let artifact = artifacts.engine.precompile_module(&code).expect("compiles");
        file.write_all(&artifact).expect("writable");
        artifacts.keep(&hash, file).expect("loads");
        hash
    }

    const CODE: &str = r#"(module (func (export "f")))"#;

    fn open(dir: &Path) -> anyhow::Result<Artifacts> {
        Artifacts::open(&dir.join("cache"), Engine::default())
    }

    #[test]
    fn damaged_artifacts_are_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let artifacts = open(dir.path()).expect("opens");
        assert!(artifacts.load(&Hash::of(b"missing")).is_none());
        let code = keep(&artifacts, CODE);
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
    fn an_artifact_is_bound_to_its_code() {
        let dir = tempfile::tempdir().expect("a directory");
        let artifacts = open(dir.path()).expect("opens");
        let (code, other) = (keep(&artifacts, CODE), keep(&artifacts, "(module)"));
        fs::rename(artifacts.path(&other), artifacts.path(&code)).expect("ours");
        assert!(artifacts.load(&code).is_none(), "that of other code is refused");
        assert!(!artifacts.path(&code).exists());
        keep(&artifacts, CODE);
        assert!(artifacts.load(&code).is_some());
    }

    #[test]
    fn an_artifact_that_cannot_be_stored_is_loaded() {
        let dir = tempfile::tempdir().expect("a directory");
        let artifacts = open(dir.path()).expect("opens");
        fs::remove_dir(&artifacts.dir).expect("empty");
        fs::write(&artifacts.dir, "in the way").expect("writable");
        let code = keep(&artifacts, CODE);
        assert!(artifacts.load(&code).is_none());
    }

    #[test]
    fn what_is_not_used_goes() {
        let dir = tempfile::tempdir().expect("a directory");
        let artifacts = open(dir.path()).expect("opens");
        let (code, other) = (keep(&artifacts, CODE), keep(&artifacts, "(module)"));
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
