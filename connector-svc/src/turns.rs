//! Invocations of which each runs at most once at a time.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

/// Invocations of which each runs at most once at a time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turns(Arc<Mutex<HashMap<Uuid, Arc<tokio::sync::Mutex<()>>>>>);

/// The right to run an invocation.
pub(crate) struct Turn {
    id: Uuid,
    turns: Turns,
    held: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits for the turn of an invocation.
    pub(crate) async fn take(&self, id: Uuid) -> Turn {
        // Made before the wait: whoever is dropped while it waits tidies up, too.
        let mut turn = Turn { id, turns: self.clone(), held: None };
        let lock = Arc::clone(self.0.lock().entry(id).or_default());
        turn.held = Some(lock.lock_owned().await);
        turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.held = None;
        let mut turns = self.turns.0.lock();
        if turns.get(&self.id).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            turns.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_one_invocation_there_is_one_at_a_time() {
        let turns = Turns::default();
        let (one, other) = (Uuid::now_v7(), Uuid::now_v7());
        let first = turns.take(one).await;
        let _independent = turns.take(other).await;
        let second = tokio::spawn({
            let turns = turns.clone();
            async move { drop(turns.take(one).await) }
        });
        mesh::testing::eventually("the second waits", async || {
            turns.0.lock().get(&one).is_some_and(|lock| Arc::strong_count(lock) > 2)
        })
        .await;
        assert!(!second.is_finished());
        drop(first);
        second.await.expect("had its turn");
        assert_eq!(turns.0.lock().len(), 1, "nothing is kept of what has ended");
    }
}
