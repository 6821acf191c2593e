//! Keeps the caches within their bounds, and loads what was in memory when the worker stopped.

use std::sync::Arc;

use mesh::metrics::read_gauges;
use prometheus::Registry;

use super::{CodeCache, Goal, blocking};
use crate::runtime::queue::Demand;

impl CodeCache {
    /// Registers the metrics of the caches and of the queues.
    pub(crate) fn register_metrics(&self, registry: &Registry) {
        let inner = Arc::clone(&self.0);
        let help = "Code that waits for the compiler, by whether somebody waits for the code.";
        read_gauges(registry, "funless_worker_code_waiting", help, &["priority"], move || {
            let (short, long) = (inner.turns.compile.waiting(), inner.turns.compile_long.waiting());
            let gauge = |priority: &str, waiting: usize| (vec![priority.to_owned()], waiting as f64);
            vec![gauge("awaited", short.0 + long.0), gauge("background", short.1 + long.1)]
        });
        let gauges = |memory: u64, disk: u64| {
            vec![(vec!["memory".to_owned()], memory as f64), (vec!["disk".to_owned()], disk as f64)]
        };
        let inner = Arc::clone(&self.0);
        let help = "Functions' code in each level of the cache.";
        read_gauges(registry, "funless_worker_code_cached", help, &["level"], move || {
            gauges(inner.loaded.size().0, inner.artifacts.size().0 as u64)
        });
        let inner = Arc::clone(&self.0);
        let help = "Size of the code in each level of the cache.";
        read_gauges(registry, "funless_worker_code_cached_bytes", help, &["level"], move || {
            gauges(inner.loaded.size().1, inner.artifacts.size().1)
        });
    }

    /// Loads what was in memory when the worker stopped, and then keeps the caches within their bounds. Never ends.
    pub(crate) async fn run(self) {
        self.prefetch().await;
        loop {
            tokio::time::sleep(self.0.loaded.period()).await;
            let end = self.0.loaded.end_period();
            let (artifacts, in_use) = (self.0.artifacts.clone(), self.0.in_use());
            let _ = blocking(move || artifacts.maintain(&end.used, in_use)).await;
            self.remember_loaded().await;
        }
    }

    /// Loads one after the other, so that calls find a free slot.
    async fn prefetch(&self) {
        let listed = self.0.loaded_list.lock().take_listed();
        let mut room = self.0.loaded.max_bytes();
        let demand = Demand::background("");
        for hash in listed {
            // What is no longer on disk waits for its call.
            let Some(bytes) = self.0.artifacts.bytes_of(&hash) else { continue };
            let Some(left) = room.checked_sub(bytes) else { break };
            room = left;
            let loading = self.join_or_start(hash, &demand, Goal::Memory).result;
            if let Err(error) = loading.await {
                tracing::debug!(%hash, %error, "cannot load what was in memory");
            }
        }
        self.0.loaded_list.lock().begin();
    }

    /// Remembers what is in memory beyond a restart.
    pub(crate) async fn remember_loaded(&self) {
        let inner = Arc::clone(&self.0);
        let writing = blocking(move || {
            let mut loaded = inner.loaded.hashes();
            loaded.retain(|hash| inner.artifacts.contains(hash));
            inner.loaded_list.lock().write(&loaded);
        });
        let _ = writing.await;
    }
}
