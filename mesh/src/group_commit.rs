//! Many small writes in few transactions: writes that arrive while a transaction runs share the next one, so that
//! one disk flush makes all of them durable.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::database::{DatabaseError, Result};
use crate::shutdown::Tasks;

/// The maximum number of writes that wait for a transaction.
const MAX_WAITING: usize = 4096;
/// The maximum number of writes in a transaction.
const MAX_GROUP: usize = 512;
/// How long a transaction may take: a database that stops responding must not block later writes for ever.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(20);

/// Commits groups of writes.
pub trait Commit: Send + Sync + 'static {
    /// One write.
    type Write: Send + Sync + 'static;
    /// The result of one write.
    type Outcome: Send + 'static;

    /// Commits the writes in one transaction, and returns an outcome for each, in order.
    fn commit(&self, writes: &[Self::Write]) -> impl Future<Output = Result<Vec<Self::Outcome>>> + Send;
}

impl<C: Commit> Commit for Arc<C> {
    type Write = C::Write;
    type Outcome = C::Outcome;

    fn commit(&self, writes: &[C::Write]) -> impl Future<Output = Result<Vec<C::Outcome>>> + Send {
        (**self).commit(writes)
    }
}

/// A queue of writes that are committed in groups. Clones share it.
#[derive(Debug)]
pub struct GroupCommit<W, T> {
    queue: mpsc::Sender<Waiting<W, T>>,
    closing: CancellationToken,
}

/// The queue accepts no more writes, or the transaction has panicked. The write may or may not have been committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no more writes are accepted")]
pub struct Closed;

#[derive(Debug)]
struct Waiting<W, T> {
    write: W,
    outcome: oneshot::Sender<Result<T>>,
}

impl<W, T> Clone for GroupCommit<W, T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), closing: self.closing.clone() }
    }
}

impl<W: Send + Sync + 'static, T: Send + 'static> GroupCommit<W, T> {
    /// Starts the task that commits groups, one after the other. It ends after [`GroupCommit::close`].
    pub fn start(tasks: &Tasks, committer: impl Commit<Write = W, Outcome = T>) -> Self {
        let (queue, mut waiting) = mpsc::channel(MAX_WAITING);
        let closing = CancellationToken::new();
        let closed = closing.clone();
        tasks.spawn_until_done(async move {
            let mut group = Vec::new();
            while next_group(&mut waiting, &mut group, &closed).await {
                let (writes, callers): (Vec<_>, Vec<_>) =
                    group.drain(..).map(|Waiting { write, outcome }| (write, outcome)).unzip();
                let committed = AssertUnwindSafe(commit(&committer, writes, callers)).catch_unwind().await;
                if committed.is_err() {
                    // Its callers get `Closed`, since their senders were dropped.
                    tracing::error!("a group of writes panicked");
                }
            }
        });
        Self { queue, closing }
    }

    /// Returns once the write is durable or has failed. Waits while the queue is full.
    pub async fn write(&self, write: W) -> Result<Result<T>, Closed> {
        let (outcome, committed) = oneshot::channel();
        self.queue.send(Waiting { write, outcome }).await.map_err(|_| Closed)?;
        committed.await.map_err(|_| Closed)
    }

    /// Commits the writes in the queue and accepts no more.
    pub fn close(&self) {
        self.closing.cancel();
    }
}

/// Waits for writes and takes all of the queue. Returns false when there will be no more.
async fn next_group<W, T>(
    waiting: &mut mpsc::Receiver<Waiting<W, T>>,
    group: &mut Vec<Waiting<W, T>>,
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

/// Commits a group. If the database refuses it, each write is committed on its own, so that one bad write does not
/// fail the others.
async fn commit<C: Commit>(
    committer: &C,
    writes: Vec<C::Write>,
    callers: Vec<oneshot::Sender<Result<C::Outcome>>>,
) {
    let committed = commit_in_time(committer, &writes).await;
    if matches!(committed, Err(DatabaseError::Failed(_))) && writes.len() > 1 {
        return commit_one_by_one(committer, writes, callers).await;
    }
    // First of all, since a caller may rely on what a write holds, such as reserved capacity, being released.
    drop(writes);
    match committed {
        Ok(outcomes) => {
            for (caller, outcome) in callers.into_iter().zip(outcomes) {
                reply(caller, Ok(outcome));
            }
        }
        Err(error) => callers.into_iter().for_each(|caller| reply(caller, Err(error.clone()))),
    }
}

/// Commits each write on its own, as long as the database is available.
async fn commit_one_by_one<C: Commit>(
    committer: &C,
    writes: Vec<C::Write>,
    callers: Vec<oneshot::Sender<Result<C::Outcome>>>,
) {
    let mut unavailable = None;
    for (write, caller) in writes.into_iter().zip(callers) {
        let outcome = match &unavailable {
            Some(error) => Err(DatabaseError::clone(error)),
            None => commit_in_time(committer, std::slice::from_ref(&write)).await.and_then(only),
        };
        if let Err(error @ (DatabaseError::Unavailable(_) | DatabaseError::Uncertain(_))) = &outcome {
            unavailable.get_or_insert_with(|| error.clone());
        }
        drop(write);
        reply(caller, outcome);
    }
}

fn only<T>(outcomes: Vec<T>) -> Result<T> {
    outcomes.into_iter().next().ok_or_else(|| DatabaseError::Failed("a write has no outcome".into()))
}

fn reply<T>(caller: oneshot::Sender<Result<T>>, outcome: Result<T>) {
    // The caller may have gone away.
    let _ = caller.send(outcome);
}

async fn commit_in_time<C: Commit>(committer: &C, writes: &[C::Write]) -> Result<Vec<C::Outcome>> {
    let committed = tokio::time::timeout(COMMIT_TIMEOUT, committer.commit(writes)).await;
    committed.unwrap_or_else(|_| Err(DatabaseError::Uncertain("it does not respond".into())))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use parking_lot::Mutex;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::testing::eventually;

    /// What becomes of a write.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Write {
        Good(u32),
        Refused,
        Unavailable,
        Panics,
    }

    /// Commits a group for each permit of its gate, and records the groups.
    struct Gated {
        gate: Semaphore,
        groups: Mutex<Vec<Vec<Write>>>,
    }

    impl Gated {
        fn new(permits: usize) -> Arc<Self> {
            Arc::new(Self { gate: Semaphore::new(permits), groups: Mutex::default() })
        }

        fn sizes(&self) -> Vec<usize> {
            self.groups.lock().iter().map(Vec::len).collect()
        }
    }

    impl Commit for Gated {
        type Write = Write;
        type Outcome = u32;

        async fn commit(&self, writes: &[Write]) -> Result<Vec<u32>> {
            self.groups.lock().push(writes.to_vec());
            self.gate.acquire().await.expect("open").forget();
            let commit = |write: &Write| match write {
                Write::Good(number) => Ok(*number),
                Write::Refused => Err(DatabaseError::Failed("refused".into())),
                Write::Unavailable => Err(DatabaseError::Unavailable("away".into())),
                Write::Panics => panic!("a fault"),
            };
            writes.iter().map(commit).collect()
        }
    }

    /// The outcome of each of `writes`, which share a group: they arrive while another one is committed.
    async fn outcomes(gated: &Arc<Gated>, writes: &[Write]) -> Vec<String> {
        let tasks = Tasks::default();
        let group = GroupCommit::start(&tasks, Arc::clone(gated));
        let write = |write| {
            let group = group.clone();
            tokio::spawn(async move { group.write(write).await })
        };
        let first = write(Write::Good(0));
        eventually("the first is being committed", async || gated.sizes() == [1]).await;
        let mut others = Vec::new();
        for (index, other) in writes.iter().enumerate() {
            others.push(write(*other));
            let all_wait = async || group.queue.capacity() == MAX_WAITING - index - 1;
            eventually("it waits", all_wait).await;
        }
        gated.gate.add_permits(100);
        assert_eq!(first.await.expect("no panic").expect("open").expect("committed"), 0);
        let mut outcomes = Vec::new();
        for other in others {
            outcomes.push(match other.await.expect("no panic") {
                Ok(Ok(number)) => number.to_string(),
                Ok(Err(error)) => error.to_string(),
                Err(closed) => closed.to_string(),
            });
        }
        outcomes
    }

    #[tokio::test]
    async fn writes_that_wait_share_a_transaction() {
        let gated = Gated::new(0);
        let nine: Vec<_> = (1..10).map(Write::Good).collect();
        assert_eq!(outcomes(&gated, &nine).await, ["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
        assert_eq!(gated.sizes(), [1, 9]);
    }

    #[tokio::test]
    async fn a_refused_write_does_not_fail_the_others() {
        let gated = Gated::new(0);
        let writes = [Write::Good(1), Write::Refused, Write::Good(2)];
        assert_eq!(outcomes(&gated, &writes).await, ["1", "the database failed: refused", "2"]);
        assert_eq!(gated.sizes(), [1, 3, 1, 1, 1]);
    }

    #[tokio::test]
    async fn a_database_that_goes_away_is_not_asked_again_for_the_same_group() {
        let gated = Gated::new(0);
        let writes = [Write::Good(1), Write::Refused, Write::Unavailable, Write::Good(2)];
        let away = "the database is not available: away";
        assert_eq!(outcomes(&gated, &writes).await, ["1", "the database failed: refused", away, away]);
        assert_eq!(gated.sizes(), [1, 4, 1, 1, 1], "the last one is not tried");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_write_is_released_before_its_caller_hears_of_it() {
        /// Refuses groups of several.
        struct Singly;

        impl Commit for Singly {
            type Write = Arc<()>;
            type Outcome = ();

            async fn commit(&self, writes: &[Arc<()>]) -> Result<Vec<()>> {
                match writes {
                    [_] => Ok(vec![()]),
                    _ => Err(DatabaseError::Failed("several".into())),
                }
            }
        }

        for _ in 0..100 {
            let group = GroupCommit::start(&Tasks::default(), Singly);
            let write = || async {
                let held = Arc::new(());
                group.write(Arc::clone(&held)).await.expect("open").expect("committed");
                assert_eq!(Arc::strong_count(&held), 1);
            };
            tokio::join!(write(), write(), write());
        }
    }

    #[tokio::test]
    async fn a_panic_fails_its_group_and_no_other() {
        let tasks = Tasks::default();
        let group = GroupCommit::start(&tasks, Gated::new(9));
        assert!(matches!(group.write(Write::Panics).await, Err(Closed)));
        assert!(matches!(group.write(Write::Good(1)).await, Ok(Ok(1))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_database_that_does_not_respond_does_not_block_later_writes() {
        let gated = Gated::new(0);
        let group = GroupCommit::start(&Tasks::default(), Arc::clone(&gated));
        let outcome = group.write(Write::Good(1)).await.expect("open");
        assert!(matches!(outcome, Err(DatabaseError::Uncertain(_))), "{outcome:?}");
        gated.gate.add_permits(1);
        assert!(matches!(group.write(Write::Good(2)).await, Ok(Ok(2))));
    }

    #[tokio::test]
    async fn close_commits_the_queue_and_accepts_no_more() {
        let tasks = Tasks::default();
        let gated = Gated::new(0);
        let group = GroupCommit::start(&tasks, Arc::clone(&gated));
        let write = |number| {
            let group = group.clone();
            tokio::spawn(async move { group.write(Write::Good(number)).await })
        };
        let first = write(1);
        eventually("the first is being committed", async || gated.sizes() == [1]).await;
        let second = write(2);
        eventually("the second waits", async || group.queue.capacity() == MAX_WAITING - 1).await;
        group.close();
        gated.gate.add_permits(2);
        assert!(matches!(first.await.expect("no panic"), Ok(Ok(1))));
        assert!(matches!(second.await.expect("no panic"), Ok(Ok(2))));
        tasks.stop(Duration::from_secs(5)).await;
        assert!(matches!(group.write(Write::Good(3)).await, Err(Closed)));
    }
}
