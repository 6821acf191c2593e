//! Shutdown: a signal starts the drain, and every background task is awaited.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The background tasks of one service.
#[derive(Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    connections: TaskTracker,
    stopping: CancellationToken,
    at_end: Arc<Mutex<Vec<BoxFuture<'static, ()>>>>,
}

impl std::fmt::Debug for Tasks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tasks").field("running", &self.tracker.len()).finish_non_exhaustive()
    }
}

impl Tasks {
    /// Runs `task` until it ends or [`Tasks::stop`] is called, whichever comes first. A task that must finish
    /// its work uses [`Tasks::spawn_until_done`] and watches [`Tasks::stopping`] itself.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stopping = self.stopping.clone();
        self.tracker.spawn(async move {
            stopping.run_until_cancelled(task).await;
        });
    }

    /// Runs `task` until it ends by itself.
    pub fn spawn_until_done(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(task);
    }

    /// Runs `connection`, which no listener accepted, until it has drained. [`Tasks::stop`] lets the other
    /// tasks run as long as connections do.
    pub fn spawn_connection(&self, connection: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.connections.spawn(connection)
    }

    /// Runs `cleanup` after all tasks have ended, such as closing a database that they use.
    pub fn at_end(&self, cleanup: impl Future<Output = ()> + Send + 'static) {
        self.at_end.lock().push(cleanup.boxed());
    }

    /// Cancelled when the tasks should stop.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Waits for the connections, then stops the tasks and waits for them; up to `limit` in total.
    pub async fn stop(&self, limit: Duration) {
        let ended = async {
            self.connections.close();
            self.connections.wait().await;
            self.stopping.cancel();
            self.tracker.close();
            self.tracker.wait().await;
            let cleanups = std::mem::take(&mut *self.at_end.lock());
            for cleanup in cleanups {
                cleanup.await;
            }
        };
        if tokio::time::timeout(limit, ended).await.is_err() {
            self.stopping.cancel();
            let left = self.connections.len() + self.tracker.len();
            tracing::warn!(left, "tasks did not end before the drain timeout");
        }
    }
}

/// Completes when the process is asked to stop: SIGTERM, Ctrl-C (SIGINT), or SIGHUP. A second signal ends the process
/// at once.
pub async fn requested() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: draining"),
        _ = interrupt.recv() => tracing::info!("Ctrl-C: draining; again: stop at once"),
        _ = hangup.recv() => tracing::info!("SIGHUP: draining"),
    }
    tokio::spawn(async move {
        // The exit codes are those of shells for processes that a signal has ended.
        let code = tokio::select! {
            _ = terminate.recv() => 128 + 15,
            _ = interrupt.recv() => 128 + 2,
            _ = hangup.recv() => 128 + 1,
        };
        tracing::warn!("a second signal: stopping at once");
        std::process::exit(code);
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn cleanups_run_after_all_tasks() {
        let tasks = Tasks::default();
        let ended = Arc::new(Mutex::new(Vec::new()));
        let (first, last) = (Arc::clone(&ended), Arc::clone(&ended));
        tasks.at_end(async move { last.lock().push("cleanup") });
        let stopping = tasks.stopping().clone();
        tasks.spawn_until_done(async move {
            stopping.cancelled().await;
            first.lock().push("task");
        });
        tasks.stop(Duration::from_secs(5)).await;
        assert_eq!(*ended.lock(), ["task", "cleanup"]);
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_run_as_long_as_connections_within_the_limit() {
        const LIMIT: Duration = Duration::from_secs(10);
        for (connection_s, expected_s) in [(0, 0), (3, 3), (60, 10)] {
            let tasks = Tasks::default();
            let stopped = tasks.stopping().clone();
            tasks.spawn(std::future::pending());
            tasks.spawn_connection(tokio::time::sleep(Duration::from_secs(connection_s)));
            let start = tokio::time::Instant::now();
            tokio::join!(tasks.stop(LIMIT), async {
                stopped.cancelled().await;
                assert_eq!(start.elapsed().as_secs(), expected_s);
            });
            assert_eq!(start.elapsed().as_secs(), expected_s);
        }
    }
}
