//! Stopping: SIGTERM or Ctrl-C drains, and every spawned task has an owner that awaits it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The background tasks of one service.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stopping: CancellationToken,
}

impl Tasks {
    /// Runs `task` until it ends or [`Tasks::stop`] is called, whichever comes first. A task that
    /// has to finish what it does listens to [`Tasks::stopping`] itself and uses
    /// [`Tasks::spawn_until_done`].
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

    /// Cancelled when the tasks shall end.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Tells the tasks to end and waits for them, at most for `limit`.
    pub async fn stop(&self, limit: Duration) {
        self.stopping.cancel();
        self.tracker.close();
        if tokio::time::timeout(limit, self.tracker.wait()).await.is_err() {
            tracing::warn!(left = self.tracker.len(), "tasks did not end in time");
        }
    }
}

/// Ends when the process is asked to stop: SIGTERM, Ctrl-C, or the end of its terminal.
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
