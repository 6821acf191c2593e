//! Inputs for tests: the committed corpus, and inputs that are generated from it with a fixed seed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The largest input that is generated, in bytes.
const MAX_INPUT_BYTES: usize = 4 << 10;

/// The files of the corpus of this surface, ordered by name.
pub fn corpus(surface: &str) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(surface);
    let paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let mut paths = paths.collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    paths.into_iter().map(|path| Ok((path.clone(), fs::read(path)?))).collect()
}

/// Random numbers (SplitMix64) that are the same for ever.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The numbers of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap_or_default()
    }

    /// An input: random bytes, or one of `corpus`, changed in a few places.
    pub fn input(&mut self, corpus: &[(PathBuf, Vec<u8>)]) -> Vec<u8> {
        if corpus.is_empty() || self.below(8) == 0 {
            let length = self.below(MAX_INPUT_BYTES);
            return (0..length).map(|_| self.next().to_le_bytes()[0]).collect();
        }
        let mut input = corpus[self.below(corpus.len())].1.clone();
        for _ in 0..=self.below(4) {
            self.change(&mut input, corpus);
        }
        input.truncate(MAX_INPUT_BYTES);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, corpus: &[(PathBuf, Vec<u8>)]) {
        let at = self.below(input.len() + 1);
        let byte = self.next().to_le_bytes()[0];
        match (self.below(6), input.get_mut(at)) {
            (0, Some(found)) => *found = byte,
            (1, Some(found)) => *found ^= 1 << (byte % 8),
            (2, Some(found)) => *found = found.wrapping_add(byte % 9).wrapping_sub(4),
            (3, _) => input.truncate(at),
            (4, _) => {
                let other = &corpus[self.below(corpus.len())].1;
                let start = self.below(other.len() + 1);
                let end = start + self.below(other.len() - start + 1);
                input.splice(at..at, other[start..end].iter().copied());
            }
            _ => input.insert(at, byte),
        }
    }
}
