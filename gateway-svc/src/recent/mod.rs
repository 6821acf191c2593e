//! Recent invocations through the REST port of this gateway, and how many there were in each minute of the last hour.
//!
//! Both are kept in memory and bounded. A subject sees its own invocations, an administrator those of everybody.

mod latencies;
mod minutes;

use std::collections::VecDeque;
use std::sync::Arc;

use mesh::Caller;
use mesh::receipt::Receipt;
use moka::sync::Cache;
use parking_lot::Mutex;

pub(crate) use minutes::Minute;
use minutes::Minutes;

/// The maximum number of invocations that are kept; the oldest ones go first.
pub(crate) const MAX_KEPT: usize = 2_000;
/// The maximum number of characters of an error message that are kept.
const MAX_MESSAGE_CHARS: usize = 500;
/// The maximum number of subjects whose invocations are counted by minute; those that were idle for longest go first.
const MAX_SUBJECTS: u64 = 100;

/// How an invocation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With a result.
    Ok,
    /// With the function's own error message.
    FunctionError(String),
    /// In any other way: the name of the reason, and the message.
    Failed(&'static str, String),
}

/// An invocation that has ended.
#[derive(Debug, Clone)]
pub(crate) struct Invocation {
    pub(crate) id: String,
    /// Unix time in milliseconds of its start.
    pub(crate) at_ms: i64,
    pub(crate) caller: Caller,
    pub(crate) module: String,
    pub(crate) function: String,
    pub(crate) ended: Ended,
    /// Empty: none was made.
    pub(crate) decision: String,
    /// Empty: it was not traced.
    pub(crate) trace_id: String,
    pub(crate) receipt: Receipt,
}

impl Invocation {
    /// Whether code was fetched, compiled or loaded for it.
    fn is_cold(&self) -> bool {
        let Receipt { fetch_us, compile_us, load_us, .. } = self.receipt;
        fetch_us + compile_us + load_us > 0
    }
}

/// The invocations of this gateway.
#[derive(Debug)]
pub(crate) struct RecentInvocations {
    /// The latest one is the last.
    kept: Mutex<VecDeque<Arc<Invocation>>>,
    all: Mutex<Minutes>,
    of_subjects: Cache<Caller, Arc<Mutex<Minutes>>>,
}

impl Default for RecentInvocations {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            all: Mutex::default(),
            of_subjects: Cache::builder().max_capacity(MAX_SUBJECTS).build(),
        }
    }
}

impl RecentInvocations {
    /// Adds an invocation that has just ended.
    pub(crate) fn add(&self, mut invocation: Invocation) {
        if let Ended::FunctionError(message) | Ended::Failed(_, message) = &mut invocation.ended
            && let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE_CHARS)
        {
            message.truncate(end);
            message.push('…');
        }
        self.all.lock().count(&invocation);
        if let Caller::Subject(_) = invocation.caller {
            self.of_subjects.get_with_by_ref(&invocation.caller, Arc::default).lock().count(&invocation);
        }
        let mut kept = self.kept.lock();
        if kept.len() == MAX_KEPT {
            kept.pop_front();
        }
        kept.push_back(Arc::new(invocation));
    }

    /// The invocations that `caller` may see and `wanted` selects, latest first, at most `limit`.
    pub(crate) fn list(
        &self,
        caller: &Caller,
        limit: usize,
        wanted: impl Fn(&Invocation) -> bool,
    ) -> Vec<Arc<Invocation>> {
        // Filters run without the lock: it is held by invocations.
        let kept: Vec<_> = self.kept.lock().iter().rev().cloned().collect();
        let seen = kept.into_iter().filter(|one| is_visible(caller, one) && wanted(one));
        seen.take(limit).collect()
    }

    /// The minutes of the last hour with invocations that `caller` may see, oldest first.
    pub(crate) fn minutes(&self, caller: &Caller, now_ms: i64) -> Vec<Minute> {
        match caller {
            Caller::Admin(_) | Caller::Service => self.all.lock().since(now_ms),
            Caller::Subject(_) => {
                let own = self.of_subjects.get(caller);
                own.map(|minutes| minutes.lock().since(now_ms)).unwrap_or_default()
            }
        }
    }
}

fn is_visible(caller: &Caller, invocation: &Invocation) -> bool {
    match caller {
        Caller::Admin(_) | Caller::Service => true,
        Caller::Subject(_) => invocation.caller == *caller,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invocation(caller: Caller, function: &str, ended: Ended) -> Invocation {
        Invocation {
            id: String::new(),
            at_ms: 60_000,
            caller,
            module: "_".into(),
            function: function.into(),
            ended,
            decision: String::new(),
            trace_id: String::new(),
            receipt: Receipt::default(),
        }
    }

    #[test]
    fn subjects_see_their_own_and_administrators_see_all() {
        let (ann, bea, root) =
            (Caller::Subject("ann".into()), Caller::Subject("bea".into()), Caller::Admin("root".into()));
        let recent = RecentInvocations::default();
        recent.add(invocation(ann.clone(), "f", Ended::Ok));
        recent.add(invocation(bea.clone(), "g", Ended::Ok));
        recent.add(invocation(root.clone(), "h", Ended::Ok));
        let functions = |caller: &Caller| {
            let seen = recent.list(caller, 10, |_| true);
            let count: u64 = recent.minutes(caller, 61_000).iter().map(|minute| minute.count).sum();
            (seen.iter().map(|one| one.function.as_str()).collect::<String>(), count)
        };
        assert_eq!(functions(&ann), ("f".into(), 1));
        assert_eq!(functions(&bea), ("g".into(), 1));
        assert_eq!(functions(&root), ("hgf".into(), 3));
        assert_eq!(functions(&Caller::Subject("eve".into())), (String::new(), 0));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let root = Caller::Admin("root".into());
        let recent = RecentInvocations::default();
        let long = "é".repeat(2 * MAX_MESSAGE_CHARS);
        for number in 0..=MAX_KEPT {
            recent.add(invocation(root.clone(), &number.to_string(), Ended::FunctionError(long.clone())));
        }
        let seen = recent.list(&root, usize::MAX, |_| true);
        assert_eq!(seen.len(), MAX_KEPT);
        assert_eq!(seen.last().map(|oldest| oldest.function.as_str()), Some("1"));
        assert_eq!(seen[0].ended, Ended::FunctionError(format!("{}…", "é".repeat(MAX_MESSAGE_CHARS))));
        assert_eq!(recent.list(&root, 1, |one| one.function == "7")[0].function, "7");
    }
}
