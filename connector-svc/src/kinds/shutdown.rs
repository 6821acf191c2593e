//! How long a binding takes to stop.

use std::time::Duration;

use tokio::task::JoinError;

/// How long events in flight may take to end when their binding stops. Those that have not ended are left to
/// their source, which redelivers them.
pub(super) const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long disconnecting from a source may take.
pub(super) const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The result of a task. A panic goes on in the binding, which is logged and restarted with everything that
/// the journal knows.
pub(super) fn unless_panicked<T>(outcome: Result<T, JoinError>) -> T {
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}
