//! Watches the source of a function.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use ignore::WalkBuilder;
use mesh::hash::Hash;
use notify::event::{EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

/// Editors write a file in several steps: a save has ended when nothing has happened for so long.
const QUIET: Duration = Duration::from_millis(20);
/// And at the latest after this time.
const MAX_SAVE: Duration = Duration::from_millis(500);
/// Larger files are not read to see whether they have changed.
const MAX_HASHED_BYTES: u64 = 1 << 20;
/// Folders and files that builds write.
const OUTPUTS: [&str; 4] = ["target", "node_modules", "Cargo.lock", "package-lock.json"];

/// Watches a folder without what builds write: what its `.gitignore` names, hidden files, and binaries.
pub struct Watcher {
    folder: PathBuf,
    /// A binary that nothing builds: it is the source.
    prebuilt: Option<PathBuf>,
    notify: RecommendedWatcher,
    /// When something may have changed.
    events: mpsc::UnboundedReceiver<notify::Result<Instant>>,
    watched: BTreeSet<PathBuf>,
    source: BTreeMap<PathBuf, Content>,
}

/// What a file has in it.
#[derive(Debug, PartialEq, Eq)]
enum Content {
    Hashed(Hash),
    /// Its length, and when it was changed.
    Large(u64, Option<SystemTime>),
}

impl Watcher {
    /// Watches from now on. `prebuilt` is a binary in the folder that nothing builds.
    pub fn start(folder: &Path, prebuilt: Option<&Path>) -> anyhow::Result<Self> {
        let (sender, events) = mpsc::unbounded_channel();
        let notify = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if let Some(event) = event.map(|event| changes(&event.kind).then(Instant::now)).transpose() {
                // Whoever received it has gone.
                let _ = sender.send(event);
            }
        });
        let mut watcher = Self {
            folder: folder.to_owned(),
            prebuilt: prebuilt.map(|file| folder.join(file)),
            notify: notify.context("cannot watch files")?,
            events,
            watched: BTreeSet::new(),
            source: BTreeMap::new(),
        };
        watcher.source = watcher.read_source()?;
        Ok(watcher)
    }

    /// Waits until the source has changed, and returns when that began. Nothing is lost if the future is dropped.
    pub async fn changed(&mut self) -> anyhow::Result<Instant> {
        loop {
            let begun = self.next_event().await?;
            let save = async {
                while let Ok(event) = tokio::time::timeout(QUIET, self.next_event()).await {
                    event?;
                }
                anyhow::Ok(())
            };
            if let Ok(saved) = tokio::time::timeout(MAX_SAVE, save).await {
                saved?;
            }
            let source = self.read_source()?;
            if source != self.source {
                self.source = source;
                return Ok(begun);
            }
        }
    }

    async fn next_event(&mut self) -> anyhow::Result<Instant> {
        self.events.recv().await.context("the watch has ended")?.context("cannot watch files")
    }

    /// Reads all files, and watches all folders.
    fn read_source(&mut self) -> anyhow::Result<BTreeMap<PathBuf, Content>> {
        let prebuilt = self.prebuilt.clone();
        let walk = WalkBuilder::new(&self.folder)
            .parents(false)
            .require_git(false)
            .git_global(false)
            .git_exclude(false)
            .filter_entry(move |entry| {
                entry.depth() == 0
                    || Some(entry.path()) == prebuilt.as_deref()
                    || !is_output(entry.file_name())
            })
            .build();
        let (mut source, mut folders) = (BTreeMap::new(), BTreeSet::new());
        for entry in walk {
            // What has just been removed is no source any more.
            let Ok(entry) = entry else { continue };
            let path = entry.path();
            if entry.file_type().is_some_and(|kind| kind.is_dir()) {
                self.watch(path)?;
                folders.insert(entry.into_path());
            } else if let Some(content) = entry.metadata().ok().and_then(|found| content(path, &found)) {
                source.insert(entry.into_path(), content);
            }
        }
        // A folder that is made again is watched again.
        self.watched = folders;
        Ok(source)
    }

    /// Watches one folder, before its files are read.
    fn watch(&mut self, folder: &Path) -> anyhow::Result<()> {
        if self.watched.contains(folder) {
            return Ok(());
        }
        match self.notify.watch(folder, RecursiveMode::NonRecursive) {
            // It has just been removed.
            Err(_) if !folder.exists() => Ok(()),
            watched => watched.with_context(|| format!("cannot watch {}", folder.display())),
        }
    }
}

/// Whether an event may mean other content.
fn changes(event: &EventKind) -> bool {
    !matches!(event, EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(_)))
}

fn is_output(name: &OsStr) -> bool {
    let is_binary = Path::new(name).extension().is_some_and(|extension| extension == "wasm");
    is_binary || OUTPUTS.iter().any(|output| name == *output)
}

/// `None`: it has just been removed, or is no file.
fn content(path: &Path, found: &Metadata) -> Option<Content> {
    if !found.is_file() {
        return None;
    }
    match found.len() {
        len if len > MAX_HASHED_BYTES => Some(Content::Large(len, found.modified().ok())),
        _ => std::fs::read(path).ok().map(|bytes| Content::Hashed(Hash::of(&bytes))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the source is another one after `write`.
    fn is_change(watcher: &mut Watcher, write: impl FnOnce(&Path)) -> bool {
        write(&watcher.folder);
        let source = watcher.read_source().expect("a folder");
        std::mem::replace(&mut watcher.source, source) != watcher.source
    }

    #[test]
    fn source_is_what_builds_do_not_write() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        std::fs::create_dir(root.join("src")).expect("a folder");
        std::fs::write(root.join("src/a.rs"), "1").expect("a file");
        std::fs::write(root.join(".gitignore"), "build/\n").expect("a file");
        let mut watcher = Watcher::start(root, Some(Path::new("given.wasm"))).expect("a watch");
        let write = |file: &'static str, text: &'static str| {
            move |root: &Path| {
                let path = root.join(file);
                std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
                std::fs::write(path, text).expect("a file");
            }
        };
        for (file, text, expected) in [
            ("src/a.rs", "1", false),
            ("src/a.rs", "2", true),
            ("src/new/b.rs", "1", true),
            ("given.wasm", "1", true),
            ("out.wasm", "1", false),
            ("build/out.js", "1", false),
            ("target/debug/a.rs", "1", false),
            ("node_modules/a/a.js", "1", false),
            ("Cargo.lock", "1", false),
            (".a.rs.swp", "1", false),
        ] {
            assert_eq!(is_change(&mut watcher, write(file, text)), expected, "{file}");
        }
        let remove = |root: &Path| std::fs::remove_file(root.join("src/a.rs")).expect("a file");
        assert!(is_change(&mut watcher, remove));
    }

    #[tokio::test]
    async fn a_save_is_one_change() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.rs");
        std::fs::write(&file, "1").expect("a file");
        let mut watcher = Watcher::start(folder.path(), None).expect("a watch");
        std::fs::write(&file, "").expect("a file");
        std::fs::write(&file, "2").expect("a file");
        let changed = tokio::time::timeout(Duration::from_secs(20), watcher.changed());
        changed.await.expect("a change").expect("a watch");
        // In a folder that is new.
        std::fs::create_dir(folder.path().join("src")).expect("a folder");
        std::fs::write(folder.path().join("src/b.rs"), "1").expect("a file");
        let changed = tokio::time::timeout(Duration::from_secs(20), watcher.changed());
        changed.await.expect("a change").expect("a watch");
        assert_eq!(watcher.source.len(), 2);
        std::fs::write(folder.path().join("src/b.rs"), "2").expect("a file");
        let changed = tokio::time::timeout(Duration::from_secs(20), watcher.changed());
        changed.await.expect("a change").expect("a watch");
    }
}
