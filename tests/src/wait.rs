//! Waits for conditions.

use std::time::Duration;

const POLL: Duration = Duration::from_millis(5);

/// Polls `ask` until it returns `Some`. Panics with `what` if that takes longer than `limit`.
pub async fn until<T>(what: &str, limit: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    match tokio::time::timeout(limit, asking).await {
        Ok(answer) => answer,
        Err(_) => panic!("timed out after {limit:?} waiting until {what}"),
    }
}
