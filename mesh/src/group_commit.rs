//! Many small writes in few transactions: who writes while a transaction runs shares the next one, so
//! that the cost of making things durable is paid once for all of them.

use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::shutdown::Tasks;

/// Writes that wait for a transaction, at most.
const MAX_WAITING: usize = 4096;
/// Writes of one transaction, at most.
const MAX_GROUP: usize = 512;

/// The entrance to the group. Clones share it.
#[derive(Debug)]
pub struct GroupCommit<W, E> {
    queue: mpsc::Sender<Waiting<W, E>>,
    closing: CancellationToken,
}

/// The group takes no writes any more, or the transaction has panicked: whether it is written is not
/// known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nothing is written any more")]
pub struct Closed;

#[derive(Debug)]
struct Waiting<W, E> {
    write: W,
    committed: oneshot::Sender<Result<(), E>>,
}

impl<W, E> Clone for GroupCommit<W, E> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), closing: self.closing.clone() }
    }
}

impl<W, E> GroupCommit<W, E>
where
    W: Send + 'static,
    E: Clone + Send + 'static,
{
    /// Starts the task that hands each group to `commit`, one after the other. What `commit` gives
    /// holds for the whole group. The task ends after [`GroupCommit::close`].
    pub fn start<F>(tasks: &Tasks, mut commit: impl FnMut(Vec<W>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<(), E>> + Send,
    {
        let (queue, mut waiting) = mpsc::channel::<Waiting<W, E>>(MAX_WAITING);
        let closing = CancellationToken::new();
        let closed = closing.clone();
        tasks.spawn_until_done(async move {
            let mut group = Vec::new();
            while next_group(&mut waiting, &mut group, &closed).await {
                let (writes, callers): (Vec<_>, Vec<_>) =
                    group.drain(..).map(|waiting| (waiting.write, waiting.committed)).unzip();
                let outcome = AssertUnwindSafe(async { commit(writes).await }).catch_unwind().await;
                let Ok(outcome) = outcome else {
                    // Its callers hear that they were dropped.
                    tracing::error!("a group of writes panicked");
                    continue;
                };
                for caller in callers {
                    // Who went away does not want to know.
                    let _ = caller.send(outcome.clone());
                }
            }
        });
        Self { queue, closing }
    }

    /// Ends when the write is durable, or has failed together with its group. Waits while there are
    /// too many.
    pub async fn write(&self, write: W) -> Result<Result<(), E>, Closed> {
        let (committed, outcome) = oneshot::channel();
        self.queue.send(Waiting { write, committed }).await.map_err(|_| Closed)?;
        outcome.await.map_err(|_| Closed)
    }

    /// What waits is written, and nothing after it.
    pub fn close(&self) {
        self.closing.cancel();
    }
}

/// Waits for writes and takes all that are there. False when there will be none.
async fn next_group<W, E>(
    waiting: &mut mpsc::Receiver<Waiting<W, E>>,
    group: &mut Vec<Waiting<W, E>>,
    closing: &CancellationToken,
) -> bool {
    tokio::select! {
        count = waiting.recv_many(group, MAX_GROUP) => count > 0,
        () = closing.cancelled() => {
            waiting.close();
            waiting.recv_many(group, MAX_GROUP).await > 0
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use parking_lot::Mutex;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn writes_that_wait_share_a_transaction() {
        let tasks = Tasks::default();
        let groups = Arc::new(Mutex::new(Vec::new()));
        let turns = Arc::new(Semaphore::new(0));
        let commit = {
            let (groups, turns) = (Arc::clone(&groups), Arc::clone(&turns));
            move |writes: Vec<u32>| {
                groups.lock().push(writes);
                let turns = Arc::clone(&turns);
                async move {
                    turns.acquire().await.expect("open").forget();
                    Ok::<_, String>(())
                }
            }
        };
        let group = GroupCommit::start(&tasks, commit);
        let write = |number| {
            let group = group.clone();
            tokio::spawn(async move { group.write(number).await })
        };
        let mut writers = vec![write(0)];
        crate::testing::eventually("the first is on its way", || async { !groups.lock().is_empty() }).await;
        writers.extend((1..10).map(write));
        let all_wait = || async { group.queue.capacity() == MAX_WAITING - 9 };
        crate::testing::eventually("the others wait", all_wait).await;
        turns.add_permits(2);
        for writer in writers {
            assert_eq!(writer.await.expect("ended"), Ok(Ok(())));
        }
        let sizes: Vec<_> = groups.lock().iter().map(Vec::len).collect();
        assert_eq!(sizes, [1, 9], "one while the first was on its way, and then the rest");
    }

    #[tokio::test]
    async fn a_failure_is_told_to_all_and_the_next_group_goes_on() {
        let tasks = Tasks::default();
        let group = GroupCommit::start(&tasks, |writes: Vec<bool>| async move {
            if writes.contains(&false) { Err("refused".to_owned()) } else { Ok(()) }
        });
        assert_eq!(group.write(false).await, Ok(Err("refused".to_owned())));
        assert_eq!(group.write(true).await, Ok(Ok(())));
    }

    #[tokio::test]
    async fn a_panic_takes_its_group_and_no_other() {
        let tasks = Tasks::default();
        let group = GroupCommit::start(&tasks, |writes: Vec<bool>| async move {
            assert!(!writes.contains(&false), "a fault");
            Ok::<_, String>(())
        });
        assert_eq!(group.write(false).await, Err(Closed));
        assert_eq!(group.write(true).await, Ok(Ok(())));
    }

    #[tokio::test]
    async fn what_waits_at_the_end_is_written_and_nothing_after() {
        let tasks = Tasks::default();
        let turns = Arc::new(Semaphore::new(0));
        let begun = Arc::new(Mutex::new(0));
        let (gate, groups) = (Arc::clone(&turns), Arc::clone(&begun));
        let group = GroupCommit::start(&tasks, move |_: Vec<u32>| {
            *groups.lock() += 1;
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await.expect("open").forget();
                Ok::<_, String>(())
            }
        });
        let write = |number| {
            let group = group.clone();
            tokio::spawn(async move { group.write(number).await })
        };
        let under_way = write(1);
        crate::testing::eventually("one is under way", || async { *begun.lock() == 1 }).await;
        let waiting = write(2);
        let one_waits = || async { group.queue.capacity() == MAX_WAITING - 1 };
        crate::testing::eventually("one waits", one_waits).await;
        group.close();
        turns.add_permits(2);
        assert_eq!(under_way.await.expect("ended"), Ok(Ok(())));
        assert_eq!(waiting.await.expect("ended"), Ok(Ok(())));
        tasks.stop(Duration::from_secs(5)).await;
        assert_eq!(group.write(2).await, Err(Closed));
    }
}
