//! Compiled code on disk: `<cache_dir>/<engine>/<hash of the code>.cwasm`.
//!
//! `<engine>` is a hash of everything that decides whether this engine can load an artifact: its version,
//! its settings, the processor. An artifact is machine code, so none is ever taken from the network, and the
//! folder must belong to the worker's user alone. A SHA3-256 over the hash of the code and the artifact, at the
//! artifact's end, reveals one that is damaged or that belongs to other code.
//!
//! All artifacts together are bounded: those of other engines go first, then the least recently used. The time of a
//! file says when its artifact was last used, within minutes. Several workers may share a folder.

mod foreign;
mod index;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use mesh::hash::{Hash, Hasher};
use parking_lot::Mutex;
use tokio::sync::Notify;
use wasmtime::{Engine, Module};

use self::foreign::Foreign;
use self::index::{Artifact, ArtifactIndex};
use crate::metrics::{Eviction, Metrics};

const EXTENSION: &str = "cwasm";
/// The format of the files.
const FORMAT: &[u8] = b"artifact, seal of code and artifact";
const SEAL_BYTES: u64 = 32;
const COPIED_BYTES: usize = 64 << 10;
const TEMPORARY: &str = "tmp";
/// The age at which a file that a worker has not finished is one that it never will.
const ABANDONED_AGE: Duration = Duration::from_secs(3600);

/// The artifacts of one engine. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Artifacts {
    dir: PathBuf,
    engine: Engine,
    shared: Arc<Shared>,
}

struct Shared {
    /// The most that all files may take.
    max_bytes: u64,
    index: Mutex<ArtifactIndex>,
    /// Locked while files change, so that the index agrees with them.
    files: Mutex<Files>,
    /// Notified when artifacts have come or gone.
    changed: Notify,
    metrics: Metrics,
}

struct Files {
    foreign: Foreign,
    /// The time of the folder when its files were last listed.
    listed: Option<SystemTime>,
}

impl Artifacts {
    /// Creates the folder for this engine's artifacts if it is missing. Refuses one that other users own or may
    /// write to. All files in `cache_dir` may take `max_bytes`.
    pub(crate) fn open(
        cache_dir: &Path,
        engine: Engine,
        max_bytes: u64,
        metrics: Metrics,
    ) -> anyhow::Result<Self> {
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
        remove_old(&dir, TEMPORARY, ABANDONED_AGE, |_| false);
        let foreign = Foreign::find(cache_dir, &dir);
        let shared = Shared {
            max_bytes,
            index: Mutex::default(),
            files: Mutex::new(Files { foreign, listed: None }),
            changed: Notify::new(),
            metrics,
        };
        let this = Self { dir, engine, shared: Arc::new(shared) };
        this.list(&mut this.shared.files.lock());
        Ok(this)
    }

    /// Loads the artifact of this code, if there is one. Removes one that cannot be loaded. Blocks.
    pub(crate) fn load(&self, code: &Hash) -> Option<Module> {
        let path = self.path(code);
        match self.load_file(code, &path) {
            Ok((module, bytes)) => {
                self.change_index(|index| index.insert(*code, Artifact::new(bytes, SystemTime::now())));
                Some(module)
            }
            Err(error) if error.downcast_ref().map(io::Error::kind) == Some(io::ErrorKind::NotFound) => {
                self.change_index(|index| index.remove(code));
                None
            }
            Err(error) => {
                tracing::warn!(%code, %error, "a compiled artifact is damaged, or of other code; compiling again");
                self.remove(code);
                None
            }
        }
    }

    fn load_file(&self, code: &Hash, path: &Path) -> anyhow::Result<(Module, u64)> {
        let mut file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let artifact_bytes = bytes.checked_sub(SEAL_BYTES).context("it is too short")?;
        let mut hasher = hasher_for(code);
        copy_hashed(&mut (&file).take(artifact_bytes), &mut io::sink(), &mut hasher)?;
        let mut seal = [0; SEAL_BYTES as usize];
        file.read_exact(&mut seal)?;
        anyhow::ensure!(hasher.finish().as_bytes() == &seal, "its hash does not match");
        Ok((self.deserialize(file)?, bytes))
    }

    /// Loads an artifact that the compiler has written just now. Fails if the module does not fit into the engine's
    /// pool. Blocks.
    pub(crate) fn load_new(&self, artifact: &File) -> anyhow::Result<Module> {
        self.deserialize(artifact.try_clone()?)
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

    /// Stores an artifact that the compiler has written just now, and loads it from there: its clean pages then cost no
    /// memory. Others that are not `in_use` make room for it. Nothing if it cannot be stored. Blocks.
    pub(crate) fn store_and_load(
        &self,
        code: &Hash,
        mut artifact: File,
        in_use: impl Fn(&Hash) -> bool,
    ) -> Option<Module> {
        if let Err(error) = self.store(code, &mut artifact) {
            tracing::warn!(%code, %error, "cannot store a compiled artifact");
            return None;
        }
        self.trim(in_use);
        self.load(code)
    }

    fn store(&self, code: &Hash, artifact: &mut File) -> io::Result<()> {
        let (bytes, max_bytes) = (artifact.metadata()?.len() + SEAL_BYTES, self.shared.max_bytes);
        if bytes > max_bytes {
            let message = format!("it has {bytes} bytes, and cache_bytes allows {max_bytes} for all");
            return Err(io::Error::other(message));
        }
        let _files = self.shared.files.lock();
        make_dir(&self.dir)?;
        artifact.seek(SeekFrom::Start(0))?;
        replace_file(&self.path(code), |file| {
            let mut hasher = hasher_for(code);
            copy_hashed(artifact, file, &mut hasher)?;
            file.write_all(hasher.finish().as_bytes())
        })?;
        self.change_index(|index| index.insert(*code, Artifact::new(bytes, SystemTime::now())));
        Ok(())
    }

    /// Removes all artifacts but those of `used` code. Blocks.
    pub(crate) fn retain(&self, used: impl Fn(&Hash) -> bool) {
        let mut files = self.shared.files.lock();
        self.list(&mut files);
        let all = self.shared.index.lock().all();
        all.iter().filter(|code| !used(code)).for_each(|code| self.remove_file(code, &files));
    }

    /// Removes an artifact, if it is there. Blocks.
    pub(crate) fn remove(&self, code: &Hash) {
        self.remove_file(code, &self.shared.files.lock());
    }

    fn remove_file(&self, code: &Hash, _files: &Files) {
        match fs::remove_file(self.path(code)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%code, %error, "cannot remove a compiled artifact");
            }
            _ => self.change_index(|index| index.remove(code)),
        }
    }

    /// Removes what exceeds the bound. Artifacts that are `in_use` stay. Blocks.
    pub(crate) fn trim(&self, in_use: impl Fn(&Hash) -> bool) {
        let max_bytes = self.shared.max_bytes;
        let mut files = self.shared.files.lock();
        let own = self.shared.index.lock().bytes();
        files.foreign.trim(max_bytes.saturating_sub(own));
        let excess = self.shared.index.lock().excess(max_bytes, in_use);
        for code in excess {
            tracing::debug!(%code, "evicted from disk");
            self.remove_file(&code, &files);
            self.shared.metrics.evicted_code(Eviction::DiskFull);
        }
    }

    /// The code in `used` was used lately. Notices what other workers have stored or removed, removes what exceeds the
    /// bound, and writes to disk when artifacts were used. Blocks.
    pub(crate) fn maintain(&self, used: &[Hash], in_use: impl Fn(&Hash) -> bool) {
        let now = SystemTime::now();
        let unwritten = {
            let mut index = self.shared.index.lock();
            used.iter().for_each(|code| index.used(code, now));
            index.take_unwritten()
        };
        for (code, used_at) in unwritten {
            let written = File::open(self.path(&code)).and_then(|file| file.set_modified(used_at));
            if let Err(error) = written {
                tracing::debug!(%code, %error, "cannot write when an artifact was used");
            }
        }
        let time = fs::metadata(&self.dir).and_then(|dir| dir.modified()).ok();
        let mut files = self.shared.files.lock();
        if time != files.listed {
            self.list(&mut files);
        }
        drop(files);
        self.trim(in_use);
    }

    /// Lists the artifacts on disk.
    fn list(&self, files: &mut Files) {
        files.listed = fs::metadata(&self.dir).and_then(|dir| dir.modified()).ok();
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        let found: HashMap<_, _> = entries
            .flatten()
            .filter_map(|entry| {
                let code = code_of(&entry.path(), EXTENSION)?;
                let found = entry.metadata().ok()?;
                Some((code, Artifact::new(found.len(), found.modified().ok()?)))
            })
            .collect();
        self.change_index(|index| index.replace(found));
    }

    fn change_index(&self, change: impl FnOnce(&mut ArtifactIndex)) {
        let mut index = self.shared.index.lock();
        change(&mut index);
        if index.has_changed() {
            self.shared.changed.notify_one();
        }
    }

    /// Whether this code has an artifact on disk.
    pub(super) fn contains(&self, code: &Hash) -> bool {
        self.shared.index.lock().contains(code)
    }

    /// The size of the artifact of this code, if it is on disk.
    pub(super) fn bytes_of(&self, code: &Hash) -> Option<u64> {
        self.shared.index.lock().bytes_of(code)
    }

    /// How many are on disk, and the size of all.
    pub(super) fn size(&self) -> (usize, u64) {
        let index = self.shared.index.lock();
        (index.len(), index.bytes())
    }

    /// Whether `more` artifacts would most likely exceed the bound.
    pub(super) fn is_full(&self, more: usize) -> bool {
        self.shared.index.lock().is_full(self.shared.max_bytes, more)
    }

    /// Ends when artifacts have come or gone. For one caller.
    pub(super) async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    /// The code whose artifacts have come or gone since the last call.
    pub(super) fn take_changed(&self) -> HashSet<Hash> {
        self.shared.index.lock().take_changed()
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
    let temporary = path.with_file_name(format!("{}.{TEMPORARY}", uuid::Uuid::now_v7()));
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

/// Removes the files in `dir` with this extension that are older than `max_age`, unless it `stays`.
pub(super) fn remove_old(dir: &Path, extension: &str, max_age: Duration, stays: impl Fn(&Path) -> bool) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let has_extension = path.extension().is_some_and(|found| found == extension);
        if has_extension && !stays(&path) && age_of(&entry).is_some_and(|age| age > max_age) {
            let _ = fs::remove_file(path);
        }
    }
}

/// How long ago a file or folder was last changed.
pub(super) fn age_of(entry: &fs::DirEntry) -> Option<Duration> {
    let modified = entry.metadata().and_then(|metadata| metadata.modified());
    modified.ok()?.elapsed().ok()
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
