//! Which artifacts are on disk, in memory: their sizes, and when they were last used.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use mesh::hash::Hash;

/// How much later than its file says an artifact may have been used.
const UNWRITTEN: Duration = Duration::from_secs(600);

/// The artifacts that are on disk.
#[derive(Debug, Default)]
pub(super) struct ArtifactIndex {
    artifacts: HashMap<Hash, Artifact>,
    bytes: u64,
    /// Code whose artifact has come or gone.
    changed: HashSet<Hash>,
}

/// An artifact on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Artifact {
    pub(super) bytes: u64,
    pub(super) used_at: SystemTime,
    /// The same as the time of its file says, which is written rarely.
    pub(super) written: SystemTime,
}

impl Artifact {
    /// An artifact whose file has this size and this time.
    pub(super) fn new(bytes: u64, time: SystemTime) -> Self {
        Self { bytes, used_at: time, written: time }
    }
}

impl ArtifactIndex {
    /// An artifact was stored, or found.
    pub(super) fn insert(&mut self, code: Hash, artifact: Artifact) {
        self.bytes += artifact.bytes;
        match self.artifacts.insert(code, artifact) {
            Some(replaced) => self.bytes -= replaced.bytes,
            None => drop(self.changed.insert(code)),
        }
    }

    /// An artifact is gone.
    pub(super) fn remove(&mut self, code: &Hash) {
        if let Some(removed) = self.artifacts.remove(code) {
            self.bytes -= removed.bytes;
            self.changed.insert(*code);
        }
    }

    /// Replaces all by what was found on disk, but keeps the times at which this worker has used it.
    pub(super) fn replace(&mut self, found: HashMap<Hash, Artifact>) {
        let gone: Vec<_> = self.artifacts.keys().filter(|code| !found.contains_key(code)).copied().collect();
        gone.iter().for_each(|code| self.remove(code));
        for (code, mut artifact) in found {
            if let Some(known) = self.artifacts.get(&code) {
                artifact.used_at = artifact.used_at.max(known.used_at);
            }
            self.insert(code, artifact);
        }
    }

    pub(super) fn contains(&self, code: &Hash) -> bool {
        self.artifacts.contains_key(code)
    }

    /// The size of this artifact.
    pub(super) fn bytes_of(&self, code: &Hash) -> Option<u64> {
        self.artifacts.get(code).map(|artifact| artifact.bytes)
    }

    /// An artifact was used.
    pub(super) fn used(&mut self, code: &Hash, now: SystemTime) {
        if let Some(artifact) = self.artifacts.get_mut(code) {
            artifact.used_at = artifact.used_at.max(now);
        }
    }

    /// The code of all.
    pub(super) fn all(&self) -> Vec<Hash> {
        self.artifacts.keys().copied().collect()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.artifacts.len()
    }

    /// The size of all.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether `more` of average size would exceed `max_bytes`.
    pub(super) fn is_full(&self, max_bytes: u64, more: usize) -> bool {
        let average = self.bytes.checked_div(self.artifacts.len() as u64).unwrap_or_default();
        self.bytes + average * more as u64 > max_bytes
    }

    /// What has to go so that all others take at most `max_bytes`: the least recently used that are not `in_use`.
    pub(super) fn excess(&self, max_bytes: u64, in_use: impl Fn(&Hash) -> bool) -> Vec<Hash> {
        if self.bytes <= max_bytes {
            return Vec::new();
        }
        let mut idle: Vec<_> = self.artifacts.iter().filter(|(code, _)| !in_use(code)).collect();
        idle.sort_by_key(|(_, artifact)| artifact.used_at);
        let mut left = self.bytes;
        let gone = idle.into_iter().take_while(|(_, artifact)| {
            let exceeds = left > max_bytes;
            left -= artifact.bytes;
            exceeds
        });
        gone.map(|(code, _)| *code).collect()
    }

    /// The artifacts that were used much later than their files say, which are then to be written.
    pub(super) fn take_unwritten(&mut self) -> Vec<(Hash, SystemTime)> {
        let mut unwritten = Vec::new();
        for (code, artifact) in &mut self.artifacts {
            let late = artifact.used_at.duration_since(artifact.written).unwrap_or_default();
            if late >= UNWRITTEN {
                artifact.written = artifact.used_at;
                unwritten.push((*code, artifact.used_at));
            }
        }
        unwritten
    }

    /// Whether artifacts have come or gone since `take_changed` was last called.
    pub(super) fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// The code whose artifacts have come or gone since the last call.
    pub(super) fn take_changed(&mut self) -> HashSet<Hash> {
        std::mem::take(&mut self.changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(name: &str) -> Hash {
        Hash::of(name.as_bytes())
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// An index of `name bytes time`, ...
    fn index(artifacts: &str) -> ArtifactIndex {
        let mut index = ArtifactIndex::default();
        for artifact in artifacts.split(", ") {
            let [name, bytes, time] = artifact.split(' ').collect::<Vec<_>>()[..] else {
                panic!("three words")
            };
            let [bytes, time] = [bytes, time].map(|number| number.parse().expect("a number"));
            index.insert(hash(name), Artifact::new(bytes, at(time)));
        }
        index
    }

    #[test]
    fn the_least_recently_used_go_unless_they_are_in_use() {
        let artifacts = "a 10 3, b 10 1, c 20 2, d 10 4";
        for (max_bytes, in_use, expected) in [
            (50, "", ""),
            (49, "", "b"),
            (40, "", "b"),
            (39, "", "b c"),
            (20, "", "b c"),
            (19, "", "b c a"),
            (0, "", "b c a d"),
            (49, "b", "c"),
            (0, "b d", "c a"),
            (0, "a b c d", ""),
        ] {
            let index = index(artifacts);
            let excess = index.excess(max_bytes, |code| in_use.split(' ').any(|name| hash(name) == *code));
            let expected: Vec<_> = expected.split_whitespace().map(hash).collect();
            assert_eq!(excess, expected, "at most {max_bytes}, {in_use:?} in use");
        }
        let mut index = index(artifacts);
        index.used(&hash("b"), at(9));
        index.used(&hash("b"), at(5));
        assert_eq!(index.excess(49, |_| false), [hash("c")], "b was used again");
    }

    #[test]
    fn full_is_without_room_for_more() {
        for (max_bytes, more, expected) in
            [(60, 1, false), (59, 1, true), (60, 2, true), (80, 2, false), (40, 1, true)]
        {
            assert_eq!(index("a 10 1, b 30 1").is_full(max_bytes, more), expected, "{max_bytes}, {more}");
        }
        assert!(!ArtifactIndex::default().is_full(0, 1), "it is not known how large artifacts are");
    }

    #[test]
    fn what_has_changed_on_disk_is_found() {
        let mut known = index("a 10 1, b 20 2, c 30 3");
        assert_eq!(known.take_changed().len(), 3);
        known.used(&hash("a"), at(9));
        known.replace(index("a 10 5, b 25 2, d 40 4").artifacts);
        assert_eq!(known.take_changed(), HashSet::from([hash("c"), hash("d")]));
        assert_eq!((known.bytes(), known.len()), (75, 3));
        assert_eq!(known.artifacts[&hash("a")].used_at, at(9));
        known.remove(&hash("b"));
        known.remove(&hash("b"));
        assert_eq!(
            (known.bytes(), known.bytes_of(&hash("a")), known.bytes_of(&hash("b"))),
            (50, Some(10), None)
        );
    }

    #[test]
    fn times_are_written_rarely() {
        let mut index = index("a 10 1000, b 10 1000");
        index.used(&hash("a"), at(1599));
        assert_eq!(index.take_unwritten(), []);
        index.used(&hash("a"), at(1600));
        assert_eq!(index.take_unwritten(), [(hash("a"), at(1600))]);
        index.used(&hash("a"), at(1700));
        assert_eq!(index.take_unwritten(), []);
    }
}
