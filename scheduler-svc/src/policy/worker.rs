//! What policies know of a worker.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

/// Bytes in the unit of a function's capacity.
pub const KB: u64 = 1024;

/// A worker as policies see it. What every evaluation reads comes first and shares a cache line: a choice may
/// consider thousands of workers.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub struct Worker {
    /// Its memory. `None`: unknown.
    pub memory: Option<Memory>,
    /// The invocations that run there, of all schedulers.
    pub running: u32,
    /// It accepts no new invocations.
    pub draining: bool,
    /// `running` by the tags of the functions.
    pub tags: TagCounts,
    /// Its name in scripts.
    pub name: Arc<str>,
    /// The hashes of the code that is prepared there.
    pub warm: HashSet<Bytes>,
}

/// Memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// The memory for functions.
    pub total: u64,
    /// The part of it that can still be reserved.
    pub available: u64,
}

impl Worker {
    /// A worker that runs nothing.
    pub fn new(name: &str, memory: Option<Memory>) -> Self {
        Self {
            name: name.into(),
            memory,
            running: 0,
            draining: false,
            tags: TagCounts::default(),
            warm: HashSet::new(),
        }
    }

    /// The memory that can be reserved, in bytes; 0 if unknown.
    #[inline]
    pub fn available(&self) -> u64 {
        self.memory.map_or(0, |memory| memory.available)
    }
}

/// Running invocations by the tag of their function. A worker runs few tags, so a list is faster than a map.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagCounts {
    /// A Bloom filter of the tags: finds most absent tags without a search.
    bits: u64,
    counts: Vec<TagCount>,
    /// The codes of the first tags, inline: few workers run more at a time.
    first: [TagCode; FIRST],
}

const FIRST: usize = 4;

#[derive(Debug, Clone, PartialEq, Eq)]
struct TagCount {
    code: TagCode,
    count: u32,
    tag: Arc<str>,
}

/// A tag in two words: itself if it has at most 15 bytes, else a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TagCode([u64; 2]);

/// A tag to look up in many [`TagCounts`].
#[derive(Debug, Clone, Copy)]
pub struct TagKey<'a> {
    code: TagCode,
    bit: u64,
    tag: &'a str,
}

impl Default for TagCode {
    /// No tag's.
    fn default() -> Self {
        Self([u64::MAX; 2])
    }
}

impl TagCode {
    /// In place of the length.
    const LONG: u8 = 16;

    fn new(tag: &str) -> Self {
        let mut bytes = [0; 16];
        match bytes.get_mut(..tag.len()).filter(|short| short.len() < 16) {
            Some(short) => {
                short.copy_from_slice(tag.as_bytes());
                // Not longer than 15.
                bytes[15] = tag.len().to_le_bytes()[0];
            }
            None => {
                // FNV-1a.
                let hash = tag.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
                    (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
                });
                bytes[..8].copy_from_slice(&hash.to_le_bytes());
                bytes[15] = Self::LONG;
            }
        }
        let (low, high) = bytes.split_at(8);
        Self([low, high].map(|half| half.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))))
    }

    fn is_long(self) -> bool {
        self.0[1].to_le_bytes()[7] == Self::LONG
    }

    /// Its bit in the filter.
    fn bit(self) -> u64 {
        let mixed = (self.0[0] ^ self.0[1].rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        1 << (mixed >> 58)
    }
}

impl<'a> TagKey<'a> {
    /// The key of a tag.
    pub fn new(tag: &'a str) -> Self {
        let code = TagCode::new(tag);
        Self { code, bit: code.bit(), tag }
    }

    #[inline]
    fn is(&self, other: &TagCount) -> bool {
        self.code == other.code && (!self.code.is_long() || *self.tag == *other.tag)
    }
}

impl TagCounts {
    /// The number of invocations with this tag.
    pub fn of(&self, tag: &str) -> u32 {
        let key = TagKey::new(tag);
        self.counts.iter().find(|known| key.is(known)).map_or(0, |known| known.count)
    }

    /// Whether any invocation has this tag.
    #[inline]
    pub fn has(&self, key: &TagKey<'_>) -> bool {
        self.bits & key.bit != 0 && self.lists(key)
    }

    #[inline]
    fn lists(&self, key: &TagKey<'_>) -> bool {
        match self.first.contains(&key.code) {
            true if !key.code.is_long() => true,
            false if self.counts.len() <= FIRST => false,
            _ => self.counts.iter().any(|known| key.is(known)),
        }
    }

    /// Adds `count` invocations with this tag.
    pub fn add(&mut self, tag: &str, count: u32) {
        let key = TagKey::new(tag);
        match self.counts.iter_mut().find(|known| key.is(known)) {
            Some(known) => known.count += count,
            None if count > 0 => {
                self.counts.push(TagCount { code: key.code, count, tag: tag.into() });
                self.summarise();
            }
            None => {}
        }
    }

    /// Removes one invocation with this tag.
    pub fn remove_one(&mut self, tag: &str) {
        let key = TagKey::new(tag);
        let Some(index) = self.counts.iter().position(|known| key.is(known)) else { return };
        self.counts[index].count -= 1;
        if self.counts[index].count == 0 {
            self.counts.swap_remove(index);
            self.summarise();
        }
    }

    /// Updates the filter and the inline codes.
    fn summarise(&mut self) {
        let codes = self.counts.iter().map(|known| known.code);
        self.bits = codes.clone().fold(0, |bits, code| bits | code.bit());
        self.first = [TagCode::default(); FIRST];
        self.first.iter_mut().zip(codes).for_each(|(first, code)| *first = code);
    }

    /// The tags with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u32)> {
        self.counts.iter().map(|known| (&*known.tag, known.count))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn tags_are_counted_as_a_map_counts_them(
            changes in prop::collection::vec(("[ab\0]{0,3}|[ab]{14,17}|(longer tags, )[a-c]{0,9}", 0..3_u32, any::<bool>()), 0..60),
        ) {
            let mut expected = std::collections::BTreeMap::<String, u32>::new();
            let mut counts = TagCounts::default();
            for (tag, count, is_added) in &changes {
                let known = expected.entry(tag.clone()).or_default();
                if *is_added {
                    counts.add(tag, *count);
                    *known += count;
                } else {
                    counts.remove_one(tag);
                    *known = known.saturating_sub(1);
                }
                for (tag, count) in &expected {
                    prop_assert_eq!(counts.of(tag), *count);
                    prop_assert_eq!(counts.has(&TagKey::new(tag)), *count > 0, "{:?}", tag);
                }
                let mut listed: Vec<_> = counts.iter().collect();
                listed.sort();
                let running = expected.iter().filter(|(_, count)| **count > 0);
                prop_assert_eq!(listed, running.map(|(tag, count)| (tag.as_str(), *count)).collect::<Vec<_>>());
            }
        }
    }
}
