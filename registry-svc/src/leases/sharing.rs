//! Distributes bindings among their holders: a pure function of the current leases.
//!
//! The distribution is fair if the holders' counts differ by at most one. A holder takes free bindings, but
//! leaves enough for the others to reach the minimum fair share. A holder with too many bindings gives up the
//! surplus in two steps: it is told to stop them, and loses their leases once it has stopped them.

use std::collections::{HashMap, HashSet};

/// How many bindings that do not run here a holder takes in one call, which has to end in time. It calls again at once.
const MAX_TAKEN: usize = 1000;

/// The leases and holders at one point in time.
#[derive(Debug, Default)]
pub(super) struct Holdings<'a> {
    /// The bindings to distribute, in a stable order.
    pub(super) bindings: Vec<&'a str>,
    /// The valid leases: the holder of each binding.
    pub(super) leases: HashMap<&'a str, &'a str>,
    /// The live holders that are not stopping. A stopping holder keeps its leases but gets no share.
    pub(super) sharers: HashSet<&'a str>,
}

/// The result of a holder's call.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Share<'a> {
    /// The bindings that the holder should run, in their order. It has the leases of all of these, and of the
    /// surplus that it has not stopped yet.
    pub(super) run: Vec<&'a str>,
    /// New leases.
    pub(super) taken: Vec<&'a str>,
    /// Leases that it no longer needs.
    pub(super) freed: Vec<&'a str>,
}

impl<'a> Holdings<'a> {
    /// The share of `holder`, which currently runs `running`.
    pub(super) fn share_of(&self, holder: &str, running: &HashSet<&str>) -> Share<'a> {
        let mut held: HashMap<&str, usize> =
            self.sharers.iter().filter(|sharer| **sharer != holder).map(|sharer| (*sharer, 0)).collect();
        let (mut own, mut free) = (Vec::new(), Vec::new());
        for binding in &self.bindings {
            match self.leases.get(binding) {
                Some(of) if *of == holder && running.contains(binding) => own.push(*binding),
                Some(of) if *of != holder => {
                    if let Some(count) = held.get_mut(of) {
                        *count += 1;
                    }
                }
                // Not leased, or leased by this holder but not running: any holder may take it.
                Some(_) | None => free.push(*binding),
            }
        }
        // Bindings that already run here come first, so that fewer of them move.
        free.sort_by_key(|binding| !running.contains(binding));

        let (least, most) = self.fair();
        let is_sharer = self.sharers.contains(holder);
        let lacked_by_others = held.values().map(|count| least.saturating_sub(*count)).sum();
        let keep = if is_sharer { kept(own.len(), free.len(), lacked_by_others, least, most) } else { 0 };
        let take = if is_sharer { taken(keep, free.len(), lacked_by_others, least, most) } else { 0 };
        own.truncate(keep);
        let running_here = free.iter().take_while(|binding| running.contains(**binding)).count();
        free.truncate(take.min(running_here + MAX_TAKEN));

        let run: HashSet<_> = own.iter().chain(&free).copied().collect();
        let is_own = |(_, of): &(&&str, &&str)| **of == holder;
        let leases = self.leases.iter().filter(is_own).map(|(binding, _)| *binding);
        Share {
            freed: leases.clone().filter(|id| !run.contains(id) && !running.contains(id)).collect(),
            taken: free.into_iter().filter(|id| self.leases.get(id).is_none_or(|of| *of != holder)).collect(),
            run: self.bindings.iter().copied().filter(|id| run.contains(id)).collect(),
        }
    }

    /// The minimum and maximum fair share of a holder.
    fn fair(&self) -> (usize, usize) {
        let (bindings, sharers) = (self.bindings.len(), self.sharers.len().max(1));
        (bindings / sharers, bindings.div_ceil(sharers))
    }
}

/// How many of its `own` bindings a holder keeps.
fn kept(own: usize, free: usize, lacked_by_others: usize, least: usize, most: usize) -> usize {
    let lacked_beyond_free = lacked_by_others.saturating_sub(free);
    let enough_for_others = own.saturating_sub(lacked_beyond_free).max(least);
    own.min(most).min(enough_for_others)
}

/// How many of the `free` bindings a holder takes if it keeps `keep`.
fn taken(keep: usize, free: usize, lacked_by_others: usize, least: usize, most: usize) -> usize {
    let lacked = least.saturating_sub(keep).min(free);
    let to_spare = (free - lacked).saturating_sub(lacked_by_others);
    lacked + to_spare.min(most - keep.max(least))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    /// A registry and its holders, which call in turn.
    #[derive(Debug, Default)]
    struct World {
        bindings: BTreeSet<String>,
        leases: HashMap<String, String>,
        /// What each holder runs, and whether it is stopping.
        holders: BTreeMap<String, (BTreeSet<String>, bool)>,
    }

    #[derive(Debug, Clone)]
    enum Step {
        Join(u8),
        Call(u8),
        Stop(u8),
        /// The holder has not called for a lease duration.
        Expire(u8),
        Create(u8),
        Delete(u8),
    }

    impl World {
        fn with(bindings: usize, holders: usize) -> Self {
            let mut world = Self::default();
            world.bindings.extend((0..bindings).map(|number| format!("{number:03}")));
            for number in 0..holders {
                world.holders.insert(format!("h{number}"), Default::default());
            }
            world
        }

        /// The holder calls and applies the response immediately. Returns whether anything has changed.
        fn call(&mut self, holder: &str) -> bool {
            let Some((running, _)) = self.holders.get(holder) else { return false };
            let running = running.clone();
            let holdings = Holdings {
                bindings: self.bindings.iter().map(|id| &**id).collect(),
                leases: self.leases.iter().map(|(id, of)| (&**id, &**of)).collect(),
                sharers: self.holders.iter().filter(|(_, (_, stops))| !stops).map(|(id, _)| &**id).collect(),
            };
            let share = holdings.share_of(holder, &running.iter().map(|id| &**id).collect());
            let owned = |ids: Vec<&str>| ids.into_iter().map(str::to_owned).collect::<Vec<_>>();
            let (run, taken, freed) = (owned(share.run), owned(share.taken), owned(share.freed));
            for id in &freed {
                assert_eq!(
                    self.leases.remove(id).as_deref(),
                    Some(holder),
                    "a holder frees only its own leases"
                );
            }
            for id in &taken {
                let before = self.leases.insert(id.clone(), holder.to_owned());
                assert_eq!(before, None, "a holder takes only free bindings");
            }
            for id in &run {
                assert_eq!(
                    self.leases.get(id).map(|of| &**of),
                    Some(holder),
                    "a holder runs only what it has leased"
                );
            }
            let run: BTreeSet<_> = run.into_iter().collect();
            let moved = run != running || !taken.is_empty() || !freed.is_empty();
            self.holders.get_mut(holder).expect("the calling holder").0 = run;
            moved
        }

        fn take(&mut self, step: Step) {
            let holder = |number: u8| format!("h{}", number % 5);
            match step {
                Step::Join(number) => drop(self.holders.entry(holder(number)).or_default()),
                Step::Call(number) => drop(self.call(&holder(number))),
                Step::Stop(number) => {
                    if let Some((_, stops)) = self.holders.get_mut(&holder(number)) {
                        *stops = true;
                    }
                }
                Step::Expire(number) => {
                    self.holders.remove(&holder(number));
                    self.leases.retain(|_, of| *of != holder(number));
                }
                Step::Create(number) => drop(self.bindings.insert(format!("{number:03}"))),
                Step::Delete(number) => drop(self.bindings.remove(&format!("{number:03}"))),
            }
        }

        /// Asserts that no binding runs twice.
        fn check(&self) {
            let mut seen = BTreeSet::new();
            for (running, _) in self.holders.values() {
                for id in running {
                    assert!(seen.insert(id), "{id} runs twice: {self:?}");
                }
            }
        }
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            2 => any::<u8>().prop_map(Step::Join),
            8 => any::<u8>().prop_map(Step::Call),
            1 => any::<u8>().prop_map(Step::Stop),
            1 => any::<u8>().prop_map(Step::Expire),
            3 => (0..20_u8).prop_map(Step::Create),
            1 => (0..20_u8).prop_map(Step::Delete),
        ]
    }

    #[test]
    fn a_call_takes_few_new_bindings_and_stops_none_that_runs() {
        let ids: Vec<_> = (0..5000).map(|number| format!("{number:04}")).collect();
        let bindings: Vec<_> = ids.iter().map(String::as_str).collect();
        let share = |running: &[&str]| {
            let holdings =
                Holdings { bindings: bindings.clone(), sharers: ["h"].into(), ..Holdings::default() };
            holdings.share_of("h", &running.iter().copied().collect()).run
        };
        assert!(share(&[]) == bindings[..1000]);
        // The leases are gone, as after a failover that has lost them.
        assert!(share(&bindings) == bindings);
        let run = share(&bindings[3000..]);
        assert!(run.len() == 3000 && run[1000..] == bindings[3000..]);
    }

    proptest! {
        #[test]
        fn no_binding_runs_twice_and_the_distribution_becomes_fair(
            steps in prop::collection::vec(step(), 0..80),
            order in Just(["h0", "h1", "h2", "h3", "h4"]).prop_shuffle(),
        ) {
            let mut world = World::default();
            for step in steps {
                world.take(step);
                world.check();
            }
            world.holders.retain(|_, (_, stops)| !*stops);
            world.leases.retain(|_, of| world.holders.contains_key(of));
            if world.holders.is_empty() {
                world.take(Step::Join(0));
            }
            // In the first round, holders are told to stop their surplus; in the second, it becomes free; in
            // the third, it is taken.
            for _ in 0..3 {
                for holder in order {
                    world.call(holder);
                    world.check();
                }
            }
            let counts: Vec<_> = world.holders.values().map(|(running, _)| running.len()).collect();
            let (least, most) = (counts.iter().min(), counts.iter().max());
            prop_assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1), "{counts:?}");
            prop_assert_eq!(counts.iter().sum::<usize>(), world.bindings.len(), "all bindings run");
            prop_assert!(!order.map(|holder| world.call(holder)).contains(&true), "it is stable");
        }

        #[test]
        fn free_bindings_are_taken_in_one_round(bindings in 0..40_usize, holders in 1..6_usize) {
            let mut world = World::with(bindings, holders);
            for number in 0..holders {
                world.call(&format!("h{number}"));
            }
            prop_assert_eq!(world.leases.len(), bindings);
        }
    }

    #[test]
    fn a_single_holder_gets_all_bindings_at_once() {
        let mut world = World::with(100, 1);
        world.call("h0");
        assert_eq!(world.holders["h0"].0, world.bindings);
    }

    #[test]
    fn a_new_holder_gets_what_others_have_stopped() {
        let mut world = World::with(4, 2);
        world.call("h0");
        world.call("h1");
        world.take(Step::Join(2));
        assert!(!world.call("h2"), "nothing is free");
        assert!(world.call("h0"), "it has one more than the minimum and stops it");
        assert!(!world.call("h2"), "the registry does not know yet that it has stopped");
        world.call("h0");
        assert!(world.call("h2"));
        let counts: Vec<_> = world.holders.values().map(|(running, _)| running.len()).collect();
        assert_eq!(counts, [1, 2, 1]);
    }

    #[test]
    fn a_holder_keeps_what_it_runs_after_its_leases_are_lost() {
        let mut world = World::with(4, 2);
        world.call("h0");
        world.call("h1");
        let before = world.holders["h1"].0.clone();
        world.leases.clear();
        world.call("h1");
        assert_eq!(world.holders["h1"].0, before);
    }

    #[test]
    fn a_stopping_holder_keeps_what_it_still_runs() {
        let mut world = World::with(2, 2);
        world.call("h0");
        world.call("h1");
        world.take(Step::Stop(0));
        let lease = world.leases.iter().find(|(_, of)| *of == "h0").map(|(id, _)| id.clone()).expect("one");
        world.call("h0");
        assert_eq!(world.leases.get(&lease).map(|of| &**of), Some("h0"), "it still runs the binding");
        world.call("h0");
        assert!(!world.leases.contains_key(&lease), "it has stopped the binding");
        world.call("h1");
        assert_eq!(world.holders["h1"].0.len(), 2);
    }
}
