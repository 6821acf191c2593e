//! Code in memory: the most recently used, within a bound of bytes and of age.
//!
//! Time is counted in periods, so that a lookup reads no clock: it marks the code with the number of the current one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mesh::hash::Hash;
use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::prepared::PreparedCode;
use crate::metrics::{Eviction, Metrics};

/// Code that is not used for so many periods is evicted.
const IDLE_PERIODS: u32 = 8;
/// Those that hold code which no invocation runs: the cache, and whoever looks.
const IDLE_HOLDERS: usize = 2;

/// The code in memory. Cheap to clone.
#[derive(Clone)]
pub(super) struct LoadedCode {
    code: Cache<Hash, Arc<PreparedCode>>,
    max_bytes: u64,
    /// The number of the current period.
    now: Arc<AtomicU64>,
    period: Duration,
    metrics: Metrics,
}

/// What has happened in a period.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PeriodEnd {
    /// The code that was used.
    pub(super) used: Vec<Hash>,
    /// The code that was evicted at its end, since it was idle.
    pub(super) evicted: Vec<Hash>,
}

impl LoadedCode {
    /// Holds at most `max_bytes` of code, and code that was not used for `idle` until the end of the period.
    pub(super) fn new(max_bytes: u64, idle: Duration, metrics: Metrics) -> Self {
        let counted = metrics.clone();
        let code = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|_, code: &Arc<PreparedCode>| u32::try_from(code.bytes).unwrap_or(u32::MAX))
            .eviction_policy(EvictionPolicy::lru())
            .eviction_listener(move |_, _, cause| {
                if cause == RemovalCause::Size {
                    counted.evicted_code(Eviction::MemoryFull);
                }
            })
            .build();
        Self { code, max_bytes, now: Arc::default(), period: idle / IDLE_PERIODS, metrics }
    }

    /// The most code in memory, in bytes.
    pub(super) fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// How long a period takes.
    pub(super) fn period(&self) -> Duration {
        self.period
    }

    /// The code with this hash, which is used now.
    pub(super) fn get(&self, hash: &Hash) -> Option<Arc<PreparedCode>> {
        self.code.get(hash).inspect(|code| self.mark(code))
    }

    /// Whether the code with this hash is in memory.
    pub(super) fn contains(&self, hash: &Hash) -> bool {
        self.code.contains_key(hash)
    }

    /// Keeps code, which is used now.
    pub(super) fn insert(&self, hash: Hash, code: Arc<PreparedCode>) {
        self.mark(&code);
        self.code.insert(hash, code);
    }

    pub(super) fn remove(&self, hash: &Hash) {
        self.code.invalidate(hash);
    }

    /// How much code is in memory, and its size.
    pub(super) fn size(&self) -> (u64, u64) {
        self.code.run_pending_tasks();
        (self.code.entry_count(), self.code.weighted_size())
    }

    /// All code in memory, the most recently used first.
    pub(super) fn hashes(&self) -> Vec<Hash> {
        let mut code: Vec<_> = self.code.iter().map(|(hash, code)| (code.used_in(), *hash)).collect();
        code.sort_by(|(one, _), (other, _)| other.cmp(one));
        code.into_iter().map(|(_, hash)| hash).collect()
    }

    /// Ends a period, and evicts the code that is idle.
    pub(super) fn end_period(&self) -> PeriodEnd {
        let now = self.now.load(Ordering::Relaxed);
        let mut end = PeriodEnd::default();
        for (hash, code) in &self.code {
            if Arc::strong_count(&code) > IDLE_HOLDERS {
                self.mark(&code);
            }
            match now - code.used_in() {
                0 => end.used.push(*hash),
                idle if idle >= u64::from(IDLE_PERIODS) => {
                    self.code.invalidate(&*hash);
                    self.metrics.evicted_code(Eviction::Idle);
                    end.evicted.push(*hash);
                }
                _ => {}
            }
        }
        self.now.store(now + 1, Ordering::Relaxed);
        self.code.run_pending_tasks();
        end
    }

    fn mark(&self, code: &PreparedCode) {
        code.use_in(self.now.load(Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::{Engine, Module};

    use super::*;
    use crate::runtime::host;

    const CODE: &str = r#"(module (func (export "__invoke") (param i32) (result i32) (i32.const 0)))"#;
    const IDLE: Duration = Duration::from_secs(80);

    fn code() -> Arc<PreparedCode> {
        let engine = Engine::default();
        let linker = host::linker(&engine).expect("links");
        let module = Module::new(&engine, wat::parse_str(CODE).expect("well-formed")).expect("compiles");
        Arc::new(PreparedCode::link(&linker, &module).expect("links"))
    }

    fn loaded(max_bytes: usize) -> LoadedCode {
        let metrics = Metrics::new(&prometheus::Registry::new(), "worker");
        LoadedCode::new(max_bytes as u64, IDLE, metrics)
    }

    fn hash(name: &str) -> Hash {
        Hash::of(name.as_bytes())
    }

    #[test]
    fn idle_code_is_evicted() {
        let loaded = loaded(usize::MAX);
        assert_eq!(loaded.period(), Duration::from_secs(10));
        for name in ["idle", "called", "running"] {
            loaded.insert(hash(name), code());
        }
        let running = loaded.get(&hash("running"));
        let mut at_start = loaded.end_period();
        at_start.used.sort();
        let mut all = ["idle", "called", "running"].map(hash);
        all.sort();
        assert_eq!(at_start, PeriodEnd { used: all.into(), evicted: Vec::new() });
        for period in 1..8 {
            if period == 3 {
                loaded.get(&hash("called"));
            }
            let end = loaded.end_period();
            assert_eq!(end.evicted, [], "{period}");
            assert_eq!(end.used.contains(&hash("called")), period == 3, "{period}");
            assert!(end.used.contains(&hash("running")), "{period}");
        }
        assert_eq!(loaded.end_period().evicted, [hash("idle")]);
        drop(running);
        assert_eq!(loaded.hashes(), [hash("running"), hash("called")], "the last used first");
        assert_eq!((loaded.end_period().evicted, loaded.end_period().evicted), (vec![], vec![]));
        assert_eq!(loaded.end_period().evicted, [hash("called")]);
        (0..5).for_each(|_| drop(loaded.end_period()));
        assert_eq!(loaded.size(), (0, 0));
        assert!(loaded.get(&hash("running")).is_none());
    }

    #[test]
    fn the_least_recently_used_code_makes_room() {
        let bytes = code().bytes;
        let loaded = loaded(2 * bytes);
        for name in ["a", "b"] {
            loaded.insert(hash(name), code());
            assert!(loaded.size().0 > 0);
        }
        loaded.get(&hash("a"));
        assert_eq!(loaded.size(), (2, 2 * bytes as u64));
        loaded.insert(hash("c"), code());
        assert_eq!(loaded.size(), (2, 2 * bytes as u64));
        assert!(loaded.contains(&hash("a")) && loaded.contains(&hash("c")));
        loaded.remove(&hash("a"));
        assert_eq!(loaded.size(), (1, bytes as u64));
    }
}
