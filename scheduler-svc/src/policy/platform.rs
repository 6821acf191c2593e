//! The default policy.

use std::cmp::Reverse;

use crate::cluster::Candidate;

/// Among the candidates with enough memory for `capacity_kb`, the one with the most memory
/// available; among equals one that is warm, then the least busy, then the first by name. A worker
/// of unknown memory is eligible, and counts as one with none available.
pub fn most_available<'a>(
    candidates: impl Iterator<Item = Candidate<'a>>,
    capacity_kb: u64,
) -> Option<Candidate<'a>> {
    let needed = capacity_kb.saturating_mul(1024);
    candidates.filter(|candidate| candidate.available.is_none_or(|available| needed <= available)).min_by_key(
        |candidate| {
            (Reverse(candidate.available.unwrap_or(0)), !candidate.warm, candidate.running, candidate.name)
        },
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, proptest};

    use super::*;

    fn candidate(name: &str, available_kb: Option<u64>, running: u32, warm: bool) -> Candidate<'_> {
        Candidate { name, available: available_kb.map(|kb| kb * 1024), running, warm }
    }

    #[test]
    fn golden() {
        let cases: [(&str, Vec<Candidate<'_>>, u64, Option<&str>); 7] = [
            ("nobody", vec![], 64, None),
            (
                "most memory",
                vec![candidate("a", Some(100), 0, true), candidate("b", Some(200), 9, false)],
                64,
                Some("b"),
            ),
            ("too small", vec![candidate("a", Some(63), 0, true)], 64, None),
            ("just enough", vec![candidate("a", Some(64), 0, true)], 64, Some("a")),
            ("unknown is eligible", vec![candidate("a", None, 0, false)], 64, Some("a")),
            (
                "unknown comes last",
                vec![candidate("a", None, 0, false), candidate("b", Some(64), 5, false)],
                64,
                Some("b"),
            ),
            (
                "warm, then least busy, then by name",
                vec![
                    candidate("a", Some(100), 0, false),
                    candidate("c", Some(100), 1, true),
                    candidate("b", Some(100), 1, true),
                    candidate("d", Some(100), 2, true),
                ],
                64,
                Some("b"),
            ),
        ];
        for (name, candidates, capacity, expected) in cases {
            let chosen = most_available(candidates.into_iter(), capacity);
            assert_eq!(chosen.map(|candidate| candidate.name), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn the_chosen_has_the_memory_and_nobody_valid_has_more(
            memory in proptest::collection::vec(any::<Option<u16>>(), 0..20),
            capacity_kb in 0u64..70_000,
        ) {
            let names: Vec<String> = (0..memory.len()).map(|i| format!("w{i}")).collect();
            let candidates: Vec<_> = names.iter().zip(&memory)
                .map(|(name, kb)| candidate(name, kb.map(u64::from), 0, false)).collect();
            let valid = |c: &Candidate<'_>| c.available.is_none_or(|bytes| bytes >= capacity_kb * 1024);
            match most_available(candidates.iter().copied(), capacity_kb) {
                None => prop_assert!(!candidates.iter().any(valid)),
                Some(chosen) => {
                    prop_assert!(valid(&chosen));
                    let most = candidates.iter().filter(|c| valid(c)).filter_map(|c| c.available).max();
                    prop_assert!(chosen.available.unwrap_or(0) >= most.unwrap_or(0));
                }
            }
        }
    }
}
