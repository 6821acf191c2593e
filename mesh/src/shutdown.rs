//! Shutdown: a signal starts the drain, and every background task is awaited.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The background tasks of one service.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    connections: TaskTracker,
    stopping: CancellationToken,
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
        };
        if tokio::time::timeout(limit, ended).await.is_err() {
            self.stopping.cancel();
            let left = self.connections.len() + self.tracker.len();
            tracing::warn!(left, "tasks did not end before the drain timeout");
        }
    }
}

/// Completes when the process is asked to stop: SIGTERM, Ctrl-C (SIGINT), or SIGHUP.
pub async fn requested() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: draining"),
        _ = interrupt.recv() => tracing::info!("Ctrl-C: draining"),
        _ = hangup.recv() => tracing::info!("SIGHUP: draining"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
