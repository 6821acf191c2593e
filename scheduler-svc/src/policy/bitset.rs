//! A set of workers, as one bit each in the order of the workers.

/// The bits in a word.
pub(super) const WORD: usize = 64;

/// The number of words for so many workers.
pub(super) fn words_for(workers: usize) -> usize {
    workers.div_ceil(WORD)
}

/// A set of workers by their index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bitset {
    words: Vec<u64>,
}

impl Bitset {
    /// An empty set, with room for so many workers.
    pub(super) fn new(workers: usize) -> Self {
        Self { words: vec![0; words_for(workers)] }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    pub(super) fn set(&mut self, index: usize, is_in: bool) {
        let bit = 1 << (index % WORD);
        match is_in {
            true => self.words[index / WORD] |= bit,
            false => self.words[index / WORD] &= !bit,
        }
    }

    /// The bits of the `N` workers from `start` on, the first in the lowest bit. They must not cross a word.
    #[inline(always)]
    pub(super) fn lanes<const N: usize>(&self, start: usize) -> u64 {
        (self.words[start / WORD] >> (start % WORD)) & lanes_mask::<N>()
    }

    /// Inserts a worker that is not in the set. `workers`: their number then.
    pub(super) fn insert(&mut self, index: usize, workers: usize) {
        self.words.resize(words_for(workers), 0);
        let (at, below) = (index / WORD, (1 << (index % WORD)) - 1);
        let word = self.words[at];
        let mut carry = word >> (WORD - 1);
        self.words[at] = word & below | (word & !below) << 1;
        for word in &mut self.words[at + 1..] {
            let next = *word >> (WORD - 1);
            *word = *word << 1 | carry;
            carry = next;
        }
    }

    /// Removes a worker. `workers`: their number then.
    pub(super) fn remove(&mut self, index: usize, workers: usize) {
        let (at, below) = (index / WORD, (1 << (index % WORD)) - 1);
        let mut carry = 0;
        for word in self.words[at + 1..].iter_mut().rev() {
            let next = *word & 1;
            *word = *word >> 1 | carry << (WORD - 1);
            carry = next;
        }
        let word = self.words[at];
        self.words[at] = word & below | (word >> 1) & !below | carry << (WORD - 1);
        self.words.truncate(words_for(workers));
    }
}

/// The lowest `N` bits.
const fn lanes_mask<const N: usize>() -> u64 {
    u64::MAX >> (WORD - N)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn workers_keep_their_bits(changes in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8), 0..400)) {
            let (mut set, mut expected) = (Bitset::default(), Vec::<bool>::new());
            for (index, change) in changes {
                match change {
                    0 if !expected.is_empty() => {
                        let index = index.index(expected.len());
                        expected.remove(index);
                        set.remove(index, expected.len());
                    }
                    1 if !expected.is_empty() => {
                        let index = index.index(expected.len());
                        expected[index] = !expected[index];
                        set.set(index, expected[index]);
                    }
                    _ => {
                        let index = index.index(expected.len() + 1);
                        expected.insert(index, false);
                        set.insert(index, expected.len());
                    }
                }
                let bits: Vec<_> = (0..expected.len()).map(|index| set.lanes::<1>(index) == 1).collect();
                prop_assert_eq!(&bits, &expected);
                prop_assert_eq!(set.is_empty(), !expected.contains(&true));
                prop_assert_eq!(set.words.len(), words_for(expected.len()));
            }
        }
    }
}
