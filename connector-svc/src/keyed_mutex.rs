//! A mutex for each invocation id.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

/// A mutex for each invocation id, which exists while somebody holds it or waits for it. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyedMutex(Arc<Mutex<HashMap<Uuid, Arc<tokio::sync::Mutex<()>>>>>);

/// Holds the mutex of an id until it is dropped.
pub(crate) struct KeyedMutexGuard {
    id: Uuid,
    mutexes: KeyedMutex,
    held: Option<OwnedMutexGuard<()>>,
}

impl KeyedMutex {
    /// Waits for the mutex of an id.
    pub(crate) async fn lock(&self, id: Uuid) -> KeyedMutexGuard {
        // Made before the wait, so that a wait that is dropped removes the mutex as well.
        let mut guard = KeyedMutexGuard { id, mutexes: self.clone(), held: None };
        let mutex = Arc::clone(self.0.lock().entry(id).or_default());
        guard.held = Some(mutex.lock_owned().await);
        guard
    }
}

impl Drop for KeyedMutexGuard {
    fn drop(&mut self) {
        self.held = None;
        let mut mutexes = self.mutexes.0.lock();
        if mutexes.get(&self.id).is_some_and(|mutex| Arc::strong_count(mutex) == 1) {
            mutexes.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_id_is_locked_once_at_a_time() {
        let mutexes = KeyedMutex::default();
        let (one, other) = (Uuid::now_v7(), Uuid::now_v7());
        let first = mutexes.lock(one).await;
        let _independent = mutexes.lock(other).await;
        let second = tokio::spawn({
            let mutexes = mutexes.clone();
            async move { drop(mutexes.lock(one).await) }
        });
        mesh::testing::eventually("the second waits", async || {
            mutexes.0.lock().get(&one).is_some_and(|mutex| Arc::strong_count(mutex) > 2)
        })
        .await;
        assert!(!second.is_finished());
        drop(first);
        second.await.expect("it was locked");
        assert_eq!(mutexes.0.lock().len(), 1, "a mutex that nobody needs is removed");
    }
}
