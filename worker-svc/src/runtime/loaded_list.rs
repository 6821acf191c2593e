//! The code in memory, remembered beside the artifacts for the next start: `<worker>.loaded`, one hash a line.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mesh::hash::Hash;

use super::artifacts::{remove_old, replace_file};

const EXTENSION: &str = "loaded";
/// The age at which the lists of other workers are removed.
const MAX_AGE: Duration = Duration::from_secs(30 * 24 * 3600);

/// The list of one worker.
#[derive(Debug)]
pub(super) struct LoadedList {
    path: PathBuf,
    /// What an earlier process has listed, the most recently used first.
    listed: Vec<Hash>,
    /// What the file lists now.
    written: HashSet<Hash>,
    /// Whether the list may be replaced.
    begun: bool,
}

impl LoadedList {
    /// Reads the list in `dir` of the worker with this name, if there is one. Blocks.
    pub(super) fn open(dir: &Path, worker: &str) -> Self {
        let path = dir.join(format!("{worker}.{EXTENSION}"));
        remove_old(dir, EXTENSION, MAX_AGE, |list| list == path);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), %error, "cannot read which code was in memory");
            }
            String::new()
        });
        let hash = |line| hex::decode(line).ok().and_then(|bytes| Hash::try_from(bytes.as_slice()).ok());
        let listed: Vec<_> = text.lines().filter_map(hash).collect();
        Self { path, written: listed.iter().copied().collect(), listed, begun: false }
    }

    /// What an earlier process has listed.
    pub(super) fn take_listed(&mut self) -> Vec<Hash> {
        std::mem::take(&mut self.listed)
    }

    /// What was listed is in memory: from now on, the list can be replaced.
    pub(super) fn begin(&mut self) {
        self.begun = true;
    }

    /// Replaces the list if other code is in memory now. Blocks.
    pub(super) fn write(&mut self, loaded: &[Hash]) {
        let now = loaded.iter().copied().collect();
        if !self.begun || self.written == now {
            return;
        }
        let written =
            replace_file(&self.path, |file| loaded.iter().try_for_each(|hash| writeln!(file, "{hash}")));
        match written {
            Ok(()) => self.written = now,
            Err(error) => tracing::warn!(%error, "cannot remember beyond a restart which code is in memory"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_each_worker_survives_a_restart() {
        let dir = tempfile::tempdir().expect("a directory");
        let open = |worker: &str| LoadedList::open(dir.path(), worker);
        let [one, other] = [Hash::of(b"one"), Hash::of(b"other")];
        let mut list = open("worker@10.0.0.1");
        assert_eq!(list.take_listed(), []);
        list.write(&[one]);
        assert_eq!(open("worker@10.0.0.1").take_listed(), [], "it has not begun");
        list.begin();
        list.write(&[one, other]);
        assert_eq!(open("worker@10.0.0.1").take_listed(), [one, other]);
        assert_eq!(open("worker@10.0.0.2").take_listed(), []);

        fs::remove_file(&list.path).expect("is there");
        list.write(&[other, one]);
        assert!(!list.path.exists(), "the same code: nothing is written");
        list.write(&[other]);
        fs::write(&list.path, format!("no hash\n{other}\n")).expect("ours");
        assert_eq!(open("worker@10.0.0.1").take_listed(), [other]);
    }
}
