//! A limit on concurrency that modules share fairly.
//!
//! A module gets a permit while its share is at most a fixed multiple of what is free. With a maximum of 75 percent,
//! that is three times as much: one busy module leaves a quarter of the permits, two leave a seventh, and a module that
//! has just begun always finds some. Nothing is reserved for modules that do not run.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::Registry;

use crate::metrics::show_usage;

/// A limit on concurrency. Clones share it.
#[derive(Debug, Clone)]
pub struct FairLimit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: usize,
    /// The most that one module may use, as a percentage of the limit.
    max_percent: usize,
    usage: Mutex<Usage>,
}

#[derive(Debug, Default)]
struct Usage {
    total: usize,
    by_module: HashMap<Arc<str>, usize>,
}

/// Why a permit was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// All permits are in use.
    Full,
    /// The module uses its share of them.
    Share,
}

/// One permit of a [`FairLimit`], until it is dropped.
#[derive(Debug)]
pub struct FairPermit {
    limit: FairLimit,
    module: Arc<str>,
}

impl FairLimit {
    /// Gives out `limit` permits at once, at most `max_percent` of them to one module; 100 limits no module.
    pub fn new(limit: usize, max_percent: u8) -> Self {
        let max_percent = usize::from(max_percent.min(100));
        Self(Arc::new(Inner { limit, max_percent, usage: Mutex::default() }))
    }

    /// A permit for `module`.
    pub fn try_acquire(&self, module: &str) -> Result<FairPermit, Refusal> {
        let Inner { limit, max_percent, usage } = &*self.0;
        let mut usage = usage.lock();
        let free = limit.saturating_sub(usage.total);
        if free == 0 {
            return Err(Refusal::Full);
        }
        let known = usage.by_module.get_key_value(module).map(|(module, used)| (Arc::clone(module), *used));
        let (module, used) = known.unwrap_or_else(|| (module.into(), 0));
        if used * (100 - max_percent) > free * max_percent {
            return Err(Refusal::Share);
        }
        usage.total += 1;
        usage.by_module.insert(Arc::clone(&module), used + 1);
        Ok(FairPermit { limit: self.clone(), module })
    }

    /// Whether a module has permits that is not one of `these`.
    pub fn is_held_by_others(&self, these: impl Fn(&str) -> bool) -> bool {
        self.0.usage.lock().by_module.keys().any(|module| !these(module))
    }

    /// Registers gauges of the permits for `what`: those in use, and their limit.
    pub fn show(&self, registry: &Registry, what: &str) {
        let inner = Arc::clone(&self.0);
        show_usage(registry, what, inner.limit, move || inner.usage.lock().total);
    }
}

impl FairPermit {
    /// The module that holds it.
    pub fn module(&self) -> &Arc<str> {
        &self.module
    }
}

impl Drop for FairPermit {
    fn drop(&mut self) {
        let mut usage = self.limit.0.usage.lock();
        usage.total -= 1;
        if let Some(used) = usage.by_module.get_mut(&self.module) {
            *used -= 1;
            if *used == 0 {
                usage.by_module.remove(&self.module);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many permits each module gets if all of them take as many as they can, one after the other.
    fn greedy<const N: usize>(limit: usize, max_percent: u8) -> [usize; N] {
        let limit = FairLimit::new(limit, max_percent);
        let mut permits = Vec::new();
        let mut used = [0; N];
        loop {
            let before = permits.len();
            for (module, used) in used.iter_mut().enumerate() {
                if let Ok(permit) = limit.try_acquire(&module.to_string()) {
                    permits.push(permit);
                    *used += 1;
                }
            }
            if permits.len() == before {
                return used;
            }
        }
    }

    #[test]
    fn busy_modules_leave_permits_for_others() {
        assert_eq!(greedy(256, 75), [193]);
        assert_eq!(greedy(256, 75), [110, 110]);
        assert_eq!(greedy(256, 75), [28, 28, 28, 28, 28, 27, 27, 27, 27]);
        assert_eq!(greedy(256, 50), [129]);
        assert_eq!(greedy(256, 100), [256], "no module is limited");
        assert_eq!(greedy(256, 100), [128, 128]);
        assert_eq!(greedy(4, 75), [4], "a small limit is used up");
        assert_eq!(greedy(1, 75), [1]);
        assert_eq!(greedy(8, 75), [7]);
    }

    #[test]
    fn a_refusal_says_whether_others_get_permits() {
        let limit = FairLimit::new(8, 75);
        let mut held: Vec<_> = (0..7).map(|_| limit.try_acquire("busy").expect("free")).collect();
        assert_eq!(limit.try_acquire("busy").expect_err("its share"), Refusal::Share);
        let other = limit.try_acquire("other").expect("kept free for others");
        assert_eq!(limit.try_acquire("third").expect_err("full"), Refusal::Full);
        assert_eq!(&**other.module(), "other");
        assert!(limit.is_held_by_others(|module| module == "busy"));
        drop(other);
        assert!(!limit.is_held_by_others(|module| module == "busy"));
        held.pop();
        drop(limit.try_acquire("busy").expect("free again"));
        drop(held);
        let usage = limit.0.usage.lock();
        assert_eq!((usage.total, usage.by_module.len()), (0, 0));
    }
}
