use std::collections::HashSet;

use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::Xoshiro256PlusPlus;

use super::*;
use crate::policy::arbitrary::large_cluster;

const TAGS: [&str; 4] = ["x", "y", "z", ""];

/// Changes a worker at random.
fn change(table: &mut WorkerTable, index: usize, rng: &mut impl Rng) {
    let Worker { mut memory, mut running, mut draining, ref tags, .. } = table.workers()[index];
    let tag = TAGS[rng.random_range(0..TAGS.len())];
    let update = match rng.random_range(0..4) {
        0 if tags.has(tag) => {
            running -= 1;
            TagUpdate::Remove(tag)
        }
        1 => {
            let mut new = TagCounts::default();
            TAGS.iter().for_each(|tag| new.add(tag, rng.random_range(0..3)));
            (running, draining) = (new.iter().map(|(_, count)| count).sum(), rng.random_bool(0.3));
            TagUpdate::Replace(new)
        }
        2 => {
            memory = rng.random_bool(0.8).then(|| Memory { total: 100, available: rng.random_range(0..3) });
            TagUpdate::Keep
        }
        _ => {
            running += 1;
            TagUpdate::Add(tag)
        }
    };
    let changes = update.changes(tags);
    let before: HashSet<Arc<str>> = tags.present().iter().cloned().collect();
    table.update(index, Update { memory, running, draining, tags: update });
    let after: HashSet<Arc<str>> = table.workers()[index].tags.present().iter().cloned().collect();
    assert_eq!(changes, before != after);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50))]

    #[test]
    fn a_changed_table_is_as_one_made_anew(count in 0..200_usize, seed: u64) {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut spare = large_cluster(count, &mut rng);
        let mut table = WorkerTable::default();
        for _ in 0..300 {
            match rng.random_range(0..4) {
                0 if !table.workers().is_empty() => {
                    let index = rng.random_range(0..table.workers().len());
                    spare.push(table.remove(index));
                }
                1 if !spare.is_empty() => {
                    let worker = spare.swap_remove(rng.random_range(0..spare.len()));
                    let index = table.find(&worker.name).expect_err("it was not in");
                    table.insert(index, worker);
                }
                _ if table.workers().is_empty() => {}
                _ => {
                    let index = rng.random_range(0..table.workers().len());
                    change(&mut table, index, &mut rng);
                }
            }
        }
        let anew: WorkerTable = table.workers().iter().cloned().collect();
        prop_assert_eq!((&table.accepting, &table.unknown), (&anew.accepting, &anew.unknown));
        prop_assert_eq!((&table.available, &table.running), (&anew.available, &anew.running));
        prop_assert_eq!((&table.percent_used, &table.tags), (&anew.percent_used, &anew.tags));
        prop_assert_eq!(&table.by_memory, &anew.by_memory);
        for (index, worker) in table.workers().iter().enumerate() {
            prop_assert_eq!(table.position(&worker.name), Some(index));
        }
    }
}
