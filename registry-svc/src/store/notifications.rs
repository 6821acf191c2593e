//! Notifications from PostgreSQL about the writes of other replicas. A periodic poll backs them up, so that a
//! lost notification only causes a delay of about a second.

use mesh::backoff::Backoff;
use sea_orm::sqlx::Error as SqlxError;
use sea_orm::sqlx::postgres::PgListener;

use super::{DatabaseUrl, Store, advance};

/// The channel on which writers announce their revision.
pub(super) const CHANNEL: &str = "funless_registry";

impl Store {
    /// Receives the notifications of other replicas forever. Returns immediately if the database is not
    /// PostgreSQL.
    pub(crate) async fn follow_notifications(&self) {
        let DatabaseUrl::Postgres(url) = &self.url else { return };
        let mut backoff = Backoff::reconnect();
        loop {
            let Err(error) = self.listen(url, &mut backoff).await;
            tracing::debug!(%error, "cannot listen for database notifications; retrying");
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    async fn listen(&self, url: &str, backoff: &mut Backoff) -> Result<std::convert::Infallible, SqlxError> {
        let mut listener = PgListener::connect(url).await?;
        listener.listen(CHANNEL).await?;
        backoff.reset();
        loop {
            let notification = listener.recv().await?;
            match notification.payload().parse() {
                Ok(revision) => advance(&self.newest, revision),
                Err(_) => tracing::warn!(
                    payload = notification.payload(),
                    "received an invalid revision on {CHANNEL}"
                ),
            }
        }
    }
}
