//! The bindings as last read from the database. Holders call every few seconds, and bindings seldom change.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use proto::registry::v1::BindingRole;

use crate::store::{Reader, Result, RoleBindings};

/// The bindings of each role as last read.
#[derive(Debug, Default)]
pub(crate) struct KnownBindings(Mutex<HashMap<BindingRole, Arc<Known>>>);

/// The bindings of a role, read between two revisions: other replicas may write meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// A revision that they include.
    pub(crate) revision: u64,
    /// A revision that includes them.
    pub(crate) newest_revision: u64,
    pub(crate) bindings: RoleBindings,
    /// By id, a revision that includes the latest change of the binding. Such a change is new to those who know an
    /// earlier revision.
    changed_at: HashMap<String, u64>,
}

impl KnownBindings {
    /// The bindings of this role. They are read only if there is a new revision.
    pub(crate) async fn read(&self, reader: &Reader<'_>, role: BindingRole) -> Result<Arc<Known>> {
        let revision = reader.revision().await?;
        let former = self.0.lock().get(&role).cloned().unwrap_or_default();
        if former.revision == revision {
            return Ok(former);
        }
        let bindings = reader.bindings(role).await?;
        let known = Arc::new(former.followed_by(bindings, revision, reader.revision().await?));
        self.0.lock().insert(role, Arc::clone(&known));
        Ok(known)
    }
}

impl Known {
    fn followed_by(&self, bindings: RoleBindings, revision: u64, newest_revision: u64) -> Self {
        let change = |(id, binding)| match self.bindings.readable.get(id) {
            // A database that was restored from a copy may be back at an earlier revision.
            Some(former) if former == binding && self.revision < revision => self.changed_at.get(id).copied(),
            _ => None,
        };
        let readable = bindings.readable.iter();
        let changed_at =
            readable.map(|entry| (entry.0.clone(), change(entry).unwrap_or(newest_revision))).collect();
        Self { revision, newest_revision, bindings, changed_at }
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

    fn bindings(params: &[(&str, &str)]) -> RoleBindings {
        let mut bindings = RoleBindings::default();
        for (id, params) in params {
            let binding = Binding { id: (*id).into(), params: (*params).into(), ..Binding::default() };
            let bound = FunctionBinding { binding: Some(binding), ..FunctionBinding::default() };
            bindings.readable.insert((*id).into(), bound);
        }
        bindings
    }

    #[test]
    fn a_change_is_news_to_those_who_know_an_earlier_revision() {
        let first = Known::default().followed_by(bindings(&[("a", "1"), ("b", "1")]), 5, 5);
        // A write of another replica between the two revisions may be included or not.
        let second = first.followed_by(bindings(&[("a", "1"), ("b", "2"), ("c", "1")]), 7, 8);
        let third = second.followed_by(bindings(&[("a", "1"), ("b", "2")]), 9, 9);
        let restored = third.followed_by(bindings(&[("a", "1"), ("b", "1")]), 6, 6);
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
