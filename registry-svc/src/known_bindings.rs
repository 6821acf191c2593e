//! The bindings as last read from the database. Holders call every few seconds, and bindings seldom change.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use proto::registry::v1::BindingRole;
use proto::registry::v1::change::Change;

use crate::store::{BindingCursor, Reader, Result, RoleBindings};

/// How many bindings are read at once.
const READ_AT_ONCE: u64 = 500;
/// How many revisions are read at once. Their changes may be large.
const READ_REVISIONS: u64 = 32;
/// After more revisions than these, all bindings are read again.
const MAX_REVISIONS: u64 = 500;

/// The bindings of each role as last read.
#[derive(Debug, Default)]
pub(crate) struct KnownBindings(Mutex<HashMap<BindingRole, Reading>>);

/// What is known of one role.
#[derive(Debug, Default)]
struct Reading {
    known: Arc<Known>,
    /// What has been read of all bindings. A call whose deadline passes leaves it to the next one, which goes on.
    begun: Option<Begun>,
}

/// A part of all bindings, read since a revision.
#[derive(Debug, Clone, Default)]
struct Begun {
    since: Revision,
    bindings: RoleBindings,
    next: BindingCursor,
}

/// A revision, and what tells it from another one with the same number: the database may have lost the last revisions,
/// and have got others since.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Revision {
    pub(crate) number: u64,
    fingerprint: Option<u64>,
}

/// The bindings of a role, read between two revisions: other replicas may write meanwhile.
#[derive(Debug, Default, Clone)]
pub(crate) struct Known {
    /// A revision that they include.
    pub(crate) since: Revision,
    /// A revision that includes them.
    pub(crate) newest_revision: u64,
    pub(crate) bindings: RoleBindings,
    /// By id, a revision that includes the latest change of the binding. Such a change is new to those who know an
    /// earlier revision.
    changed_at: HashMap<String, u64>,
}

impl KnownBindings {
    /// The bindings of this role. Only those of functions that have changed since the last call are read. One call at a
    /// time: its caller has the lock for leases.
    pub(crate) async fn read(&self, reader: &Reader<'_>, role: BindingRole) -> Result<Arc<Known>> {
        loop {
            let revision = Revision::newest(reader).await?;
            let former = Arc::clone(&self.0.lock().entry(role).or_default().known);
            if former.since == revision {
                return Ok(former);
            }
            let changed = match former.since.is_past_of(reader).await? {
                true => changed_functions(reader, former.since.number, revision.number).await?,
                false => None,
            };
            let Some(functions) = changed else {
                let (bindings, since) = self.read_all(reader, role, revision).await?;
                let newest = Revision::newest(reader).await?;
                let known = Arc::new(former.followed_by(bindings, since, newest.number));
                self.0.lock().entry(role).or_default().known = Arc::clone(&known);
                if since == newest {
                    return Ok(known);
                }
                // Some have changed meanwhile, and what is missing here may exist. The next round reads these.
                continue;
            };
            let functions: Vec<_> = functions.iter().map(String::as_str).collect();
            let bindings = reader.bindings_of(role, &functions).await?;
            let newest_revision = reader.revision().await?;
            let mut known = self.take(role, former);
            Arc::make_mut(&mut known).change(&functions, bindings, revision, newest_revision);
            self.0.lock().entry(role).or_default().known = Arc::clone(&known);
            return Ok(known);
        }
    }

    /// Takes what is known out, so that it can be changed without a copy.
    fn take(&self, role: BindingRole, former: Arc<Known>) -> Arc<Known> {
        self.0.lock().entry(role).or_default().known = Arc::default();
        former
    }

    /// Reads all bindings, or those that the calls before have not read. Returns the revision when that began, too.
    async fn read_all(
        &self,
        reader: &Reader<'_>,
        role: BindingRole,
        since: Revision,
    ) -> Result<(RoleBindings, Revision)> {
        let begun = self.0.lock().entry(role).or_default().begun.as_ref().map(|begun| begun.since);
        if let Some(since) = begun
            && !since.is_past_of(reader).await?
        {
            self.0.lock().entry(role).or_default().begun = None;
        }
        loop {
            let next = {
                let mut roles = self.0.lock();
                let begun = &mut roles.entry(role).or_default().begun;
                begun.get_or_insert_with(|| Begun { since, ..Begun::default() }).next.clone()
            };
            let mut part = RoleBindings::default();
            let next = reader.read_bindings(role, next, READ_AT_ONCE, &mut part).await?;
            let mut roles = self.0.lock();
            let reading = roles.entry(role).or_default();
            let Some(begun) = &mut reading.begun else { continue };
            begun.bindings.extend(part);
            match next {
                Some(next) => begun.next = next,
                None => {
                    let Begun { since, bindings, .. } = reading.begun.take().unwrap_or_default();
                    return Ok((bindings, since));
                }
            }
        }
    }
}

impl Revision {
    async fn newest(reader: &Reader<'_>) -> Result<Self> {
        let number = reader.revision().await?;
        Ok(Self { number, fingerprint: reader.fingerprint(number).await? })
    }

    /// Whether the database has it.
    async fn is_past_of(self, reader: &Reader<'_>) -> Result<bool> {
        Ok(self.number > 0 && reader.fingerprint(self.number).await? == self.fingerprint)
    }
}

/// The functions that have changed between two revisions, or `None` if that is not known.
async fn changed_functions(reader: &Reader<'_>, after: u64, until: u64) -> Result<Option<BTreeSet<String>>> {
    // A database that was restored from a copy may be back at an earlier revision.
    if after == 0 || after > until || until - after > MAX_REVISIONS {
        return Ok(None);
    }
    let (mut functions, mut seen) = (BTreeSet::new(), after);
    while seen < until {
        let revisions = reader.changes_after(seen, READ_REVISIONS).await?;
        if revisions.is_empty() {
            return Ok(None);
        }
        for logged in revisions {
            let Some(set) = logged.changes.filter(|_| logged.revision == seen + 1) else { return Ok(None) };
            seen = logged.revision;
            functions.extend(set.changes.into_iter().filter_map(|change| match change.change? {
                Change::FunctionPut(function) => Some(function.id),
                Change::FunctionDeleted(function) => Some(function.id),
                // Those of a module's functions come one by one.
                Change::ModulePut(_) | Change::ModuleDeleted(_) => None,
                Change::ScriptPut(_) | Change::ScriptDeleted(_) => None,
            }));
        }
    }
    Ok(Some(functions))
}

impl Known {
    fn followed_by(&self, bindings: RoleBindings, since: Revision, newest_revision: u64) -> Self {
        let change = |(id, binding)| match self.bindings.readable.get(id) {
            // A database that was restored from a copy may be back at an earlier revision.
            Some(former) if former == binding && self.since.number < since.number => {
                self.changed_at.get(id).copied()
            }
            _ => None,
        };
        let readable = bindings.readable.iter();
        let changed_at =
            readable.map(|entry| (entry.0.clone(), change(entry).unwrap_or(newest_revision))).collect();
        Self { since, newest_revision, bindings, changed_at }
    }

    /// Replaces the bindings of these functions, which are ordered, by `bindings`.
    fn change(&mut self, functions: &[&str], bindings: RoleBindings, since: Revision, newest_revision: u64) {
        let former = self.bindings.remove(functions);
        let changed_at = &mut self.changed_at;
        let mut former_changes = HashMap::new();
        for id in former.keys() {
            former_changes.extend(changed_at.remove_entry(id));
        }
        for (id, binding) in &bindings.readable {
            let same = former.get(id).filter(|former| *former == binding);
            let at = same.and_then(|_| former_changes.get(id).copied()).unwrap_or(newest_revision);
            changed_at.insert(id.clone(), at);
        }
        self.bindings.insert(bindings);
        (self.since, self.newest_revision) = (since, newest_revision);
    }

    /// Whether a binding has changed for somebody who knows the bindings as of `known_revision`.
    pub(crate) fn has_changed(&self, id: &str, known_revision: u64) -> bool {
        // Nobody knows a revision that does not exist yet: the database was restored from a copy.
        known_revision > self.newest_revision || self.changed_at.get(id).is_none_or(|at| *at > known_revision)
    }
}

#[cfg(test)]
mod tests {
    use proto::registry::v1::{Binding, FunctionBinding};

    use super::*;
    use crate::store::tests::store;

    fn at(number: u64) -> Revision {
        Revision { number, fingerprint: None }
    }

    fn bindings(params: &[(&str, &str)]) -> RoleBindings {
        let mut bindings = RoleBindings::default();
        for (id, params) in params {
            let binding = Binding { id: (*id).into(), params: (*params).into(), ..Binding::default() };
            let bound = FunctionBinding { binding: Some(binding), ..FunctionBinding::default() };
            bindings.readable.insert((*id).into(), bound);
        }
        bindings
    }

    #[tokio::test]
    async fn a_call_that_is_cancelled_leaves_what_it_has_read_to_the_next_one() {
        let store = store().await;
        for function in 0..40 {
            store.put_events(&format!("f{function:02}"), 32).await;
        }
        let known = KnownBindings::default();
        let reader = store.read();
        let begun = || {
            let roles = known.0.lock();
            let begun = roles.get(&BindingRole::Event).and_then(|reading| reading.begun.as_ref());
            begun.map_or(0, |begun| begun.bindings.order.len())
        };
        for expected in [500, 1000] {
            let mut call = Box::pin(known.read(&reader, BindingRole::Event));
            while begun() < expected {
                assert!(futures::poll!(&mut call).is_pending());
                tokio::task::yield_now().await;
            }
        }
        // A function that has been read already changes in the meantime.
        store.put_events("a", 1).await;
        let all = known.read(&reader, BindingRole::Event).await.expect("read");
        assert_eq!(
            all.bindings.order.len(),
            40 * 32 + 1,
            "with the change: what is missing counts as removed"
        );
        assert_eq!(all.since.number, all.newest_revision);
        assert_eq!(all.bindings.readable[&all.bindings.order[0]].function, "a", "ordered by function");
    }

    /// After a failover, a database may lack the last revisions, and get others with the same numbers.
    #[tokio::test]
    async fn a_database_that_has_lost_revisions_is_read_anew() {
        let (lost, kept) = (store().await, store().await);
        let known = KnownBindings::default();
        for name in ["a", "b"] {
            lost.put_events(name, 1).await;
        }
        let before = known.read(&lost.read(), BindingRole::Event).await.expect("read");
        for name in ["a", "c", "d"] {
            kept.put_events(name, 1).await;
        }
        assert_eq!(before.since.number, 2);
        let after = known.read(&kept.read(), BindingRole::Event).await.expect("read");
        let mut functions: Vec<_> =
            after.bindings.readable.values().map(|bound| bound.function.as_str()).collect();
        functions.sort_unstable();
        assert_eq!(functions, ["a", "c", "d"]);
    }

    #[test]
    fn only_the_bindings_of_changed_functions_are_replaced() {
        let bound = |id: &str, function: &str, params: &str| {
            let binding = Binding { id: id.into(), params: params.into(), ..Binding::default() };
            FunctionBinding {
                function_id: function.into(),
                binding: Some(binding),
                ..FunctionBinding::default()
            }
        };
        let of = |bound: Vec<FunctionBinding>| {
            let mut bindings = RoleBindings::default();
            for bound in bound {
                let id = bound.binding.clone().unwrap_or_default().id;
                bindings.order.push(id.clone());
                bindings.readable.insert(id, bound);
            }
            bindings
        };
        let all = vec![bound("1", "a", ""), bound("2", "c", ""), bound("3", "c", ""), bound("4", "d", "")];
        let mut known = Known::default().followed_by(of(all), at(5), 5);
        // Of c, one binding is gone, one has changed, and one is new; b is new, d is deleted.
        let new = of(vec![bound("6", "b", ""), bound("3", "c", "x"), bound("5", "c", "")]);
        known.change(&["b", "c", "d"], new, at(6), 7);
        assert_eq!(known.bindings.order, ["1", "6", "3", "5"], "by function");
        assert_eq!((known.since.number, known.newest_revision), (6, 7));
        let changed = |revision: u64| {
            let ids = known.bindings.order.iter().filter(|id| known.has_changed(id, revision));
            ids.map(String::as_str).collect::<String>()
        };
        assert_eq!((changed(0), changed(5), changed(7)), ("1635".into(), "635".into(), String::new()));
        known.change(&["c"], of(vec![bound("3", "c", "x")]), at(8), 8);
        assert_eq!(known.bindings.order, ["1", "6", "3"]);
        assert!(!known.has_changed("3", 7), "it is the same");
        assert_eq!(known.bindings.readable.len(), 3);
    }

    #[test]
    fn a_change_is_news_to_those_who_know_an_earlier_revision() {
        let first = Known::default().followed_by(bindings(&[("a", "1"), ("b", "1")]), at(5), 5);
        // A write of another replica between the two revisions may be included or not.
        let second = first.followed_by(bindings(&[("a", "1"), ("b", "2"), ("c", "1")]), at(7), 8);
        let third = second.followed_by(bindings(&[("a", "1"), ("b", "2")]), at(9), 9);
        let restored = third.followed_by(bindings(&[("a", "1"), ("b", "1")]), at(6), 6);
        for (known, revision, expected) in [
            (&first, 0, "ab"),
            (&first, 5, ""),
            (&second, 0, "abc"),
            (&second, 5, "bc"),
            (&second, 7, "bc"),
            (&second, 8, ""),
            (&third, 5, "b"),
            (&third, 7, "b"),
            (&third, 9, ""),
            (&restored, 9, "ab"),
            (&restored, 5, "ab"),
            (&restored, 6, ""),
        ] {
            let mut changed: Vec<_> = known.bindings.readable.keys().map(String::as_str).collect();
            changed.retain(|id| known.has_changed(id, revision));
            changed.sort_unstable();
            assert_eq!(changed.concat(), expected, "{revision} {:?}", known.changed_at);
        }
    }
}
