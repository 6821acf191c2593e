//! The artifacts of engines of other versions or settings.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::age_of;

/// The age at which they are removed.
const MAX_AGE: Duration = Duration::from_secs(30 * 24 * 3600);

/// The folders of other engines.
#[derive(Debug, Default)]
pub(super) struct Foreign {
    /// From the one that was changed last to the oldest.
    dirs: Vec<Dir>,
}

#[derive(Debug)]
struct Dir {
    path: PathBuf,
    bytes: u64,
    age: Duration,
}

impl Foreign {
    /// Finds those in `cache_dir`, which are all but `own`. Removes the old ones. Blocks.
    pub(super) fn find(cache_dir: &Path, own: &Path) -> Self {
        let Ok(entries) = fs::read_dir(cache_dir) else { return Self::default() };
        let mut dirs = Vec::new();
        for entry in entries.flatten() {
            let path = entry.path();
            let is_engines = entry.file_name().to_str().is_some_and(|name| hex::decode(name).is_ok());
            if !is_engines || path == own {
                continue;
            }
            match age_of(&entry).unwrap_or_default() {
                age if age > MAX_AGE => remove(&path),
                age => dirs.push(Dir { bytes: size_of(&path), path, age }),
            }
        }
        dirs.sort_by_key(|dir| dir.age);
        Self { dirs }
    }

    /// Removes the oldest until all take at most `max_bytes`. Blocks.
    pub(super) fn trim(&mut self, max_bytes: u64) {
        while self.dirs.iter().map(|dir| dir.bytes).sum::<u64>() > max_bytes
            && let Some(oldest) = self.dirs.pop()
        {
            remove(&oldest.path);
        }
    }
}

fn remove(path: &Path) {
    tracing::info!(path = %path.display(), "removing compiled code of another engine");
    if let Err(error) = fs::remove_dir_all(path) {
        tracing::warn!(path = %path.display(), %error, "cannot remove compiled code of another engine");
    }
}

/// The size of the files in this folder.
fn size_of(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|file| file.len()).sum()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn the_oldest_go_first() {
        let dir = tempfile::tempdir().expect("a directory");
        let engine = |name: &str, bytes: usize, days: u32| {
            let path = dir.path().join(name);
            fs::create_dir(&path).expect("ours");
            fs::write(path.join("artifact"), vec![0; bytes]).expect("ours");
            let folder = File::open(&path).expect("is there");
            folder.set_modified(SystemTime::now() - days * Duration::from_secs(24 * 3600)).expect("ours");
            path
        };
        let (own, other) = (engine("a0", 1000, 0), engine("not an engine", 1000, 60));
        let dirs = [("a1", 10, 1), ("a2", 30, 20), ("a3", 20, 10), ("a4", 5, 40)];
        let dirs = dirs.map(|(name, bytes, days)| engine(name, bytes, days));
        let left = || dirs.each_ref().map(|dir| dir.exists());

        let mut foreign = Foreign::find(dir.path(), &own);
        assert_eq!(left(), [true, true, true, false], "what is too old goes at once");
        for (max_bytes, expected) in [
            (60, [true, true, true, false]),
            (59, [true, false, true, false]),
            (30, [true, false, true, false]),
            (5, [false; 4]),
        ] {
            foreign.trim(max_bytes);
            assert_eq!(left(), expected, "at most {max_bytes}");
        }
        assert!(own.exists() && other.exists());
    }
}
