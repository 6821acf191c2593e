//! Code that cannot be compiled, remembered beside the artifacts: `<hash of the code>.unusable`.
//!
//! Compiling it again would fail again, after as much work. Each file has a line that tells which compiler with
//! which limits has failed, and then the reason: another compiler, or one with other limits, tries again.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use mesh::hash::Hash;
use parking_lot::Mutex;

use super::artifacts::{code_of, path_in, replace_file};

const EXTENSION: &str = "unusable";
/// The most code that is remembered; the oldest is forgotten.
const MOST: usize = 10_000;
/// The most of a reason that is remembered, in bytes.
const MAX_REASON_BYTES: usize = 1000;

/// The code that one compiler could not compile.
#[derive(Debug)]
pub(super) struct UnusableCode {
    dir: PathBuf,
    /// Identifies the compiler and its limits.
    compiler: String,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    reasons: HashMap<Hash, String>,
    /// From the oldest to the newest.
    order: VecDeque<Hash>,
}

impl UnusableCode {
    /// Reads what is remembered in `dir`. Removes what another compiler could not compile. Blocks.
    pub(super) fn open(dir: &Path, compiler: Hash) -> io::Result<Self> {
        let this = Self { dir: dir.to_owned(), compiler: compiler.to_string(), known: Mutex::default() };
        let mut found = Vec::new();
        for entry in fs::read_dir(dir)?.flatten() {
            let Some(code) = code_of(&entry.path(), EXTENSION) else { continue };
            match this.read(&entry.path()) {
                Some(reason) => {
                    let at = entry.metadata().and_then(|metadata| metadata.modified());
                    found.push((at.unwrap_or(SystemTime::UNIX_EPOCH), code, reason));
                }
                None => this.remove_file(&code),
            }
        }
        found.sort();
        for (_, code, reason) in found {
            this.insert(code, reason);
        }
        Ok(this)
    }

    fn read(&self, path: &Path) -> Option<String> {
        let text = fs::read_to_string(path).ok()?;
        let (compiler, reason) = text.split_once('\n')?;
        (compiler == self.compiler).then(|| shortened(reason).to_owned())
    }

    /// Why this code cannot be compiled, if that is known.
    pub(super) fn reason(&self, code: &Hash) -> Option<String> {
        self.known.lock().reasons.get(code).cloned()
    }

    /// Remembers why this code cannot be compiled. Blocks.
    pub(super) fn remember(&self, code: Hash, reason: &str) {
        let reason = shortened(reason);
        self.insert(code, reason.to_owned());
        let stored = replace_file(&path_in(&self.dir, &code, EXTENSION), |file| {
            write!(file, "{}\n{reason}", self.compiler)
        });
        if let Err(error) = stored {
            tracing::warn!(%code, %error, "cannot remember beyond a restart that code cannot be compiled");
        }
    }

    fn insert(&self, code: Hash, reason: String) {
        let forgotten = {
            let mut known = self.known.lock();
            if known.reasons.insert(code, reason).is_none() {
                known.order.push_back(code);
            }
            let oldest = if known.order.len() > MOST { known.order.pop_front() } else { None };
            oldest.inspect(|oldest| drop(known.reasons.remove(oldest)))
        };
        if let Some(forgotten) = forgotten {
            self.remove_file(&forgotten);
        }
    }

    fn remove_file(&self, code: &Hash) {
        if let Err(error) = fs::remove_file(path_in(&self.dir, code, EXTENSION))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%code, %error, "cannot forget that code cannot be compiled");
        }
    }
}

/// The beginning of a reason.
fn shortened(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(MAX_REASON_BYTES)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(dir: &Path) -> usize {
        fs::read_dir(dir).expect("a directory").count()
    }

    #[test]
    fn remembered_by_code_and_compiler() {
        let dir = tempfile::tempdir().expect("a directory");
        let [compiler, other] = [Hash::of(b"compiler"), Hash::of(b"with other limits")];
        let open = |compiler| UnusableCode::open(dir.path(), compiler).expect("opens");
        let [code, fine] = [Hash::of(b"code"), Hash::of(b"fine")];
        let first = open(compiler);
        assert_eq!(first.reason(&code), None);
        first.remember(code, "too large:\nof two lines");
        for unusable in [first, open(compiler)] {
            assert_eq!(unusable.reason(&code).as_deref(), Some("too large:\nof two lines"));
            assert_eq!(unusable.reason(&fine), None);
        }
        assert_eq!(files(dir.path()), 1);
        assert_eq!(open(other).reason(&code), None, "another compiler tries again");
        assert_eq!(files(dir.path()), 0);
    }

    #[test]
    fn long_reasons_are_shortened() {
        let dir = tempfile::tempdir().expect("a directory");
        let open = || UnusableCode::open(dir.path(), Hash::of(b"compiler")).expect("opens");
        let (unusable, code) = (open(), Hash::of(b"code"));
        unusable.remember(code, &format!("a{}", "é".repeat(1000)));
        let expected = format!("a{}", "é".repeat(499));
        for unusable in [unusable, open()] {
            assert_eq!(unusable.reason(&code), Some(expected.clone()));
        }
    }

    #[test]
    fn the_oldest_is_forgotten() {
        let dir = tempfile::tempdir().expect("a directory");
        let unusable = UnusableCode::open(dir.path(), Hash::of(b"compiler")).expect("opens");
        let code = |n: usize| Hash::of(&n.to_le_bytes());
        unusable.remember(code(0), "first");
        (1..=MOST).for_each(|n| unusable.insert(code(n), String::new()));
        assert_eq!(unusable.reason(&code(0)), None);
        assert_eq!(unusable.reason(&code(1)).as_deref(), Some(""));
        assert_eq!(files(dir.path()), 0);
    }
}
