//! Keeping in touch with a database that may come later than its service, and go away at any time.

use std::time::Duration;

use anyhow::Context as _;

use super::{DatabaseError, DatabaseUrl, Result};
use crate::health::Condition;
use crate::shutdown::Tasks;

/// How often the database is asked whether it is there.
const INTERVAL: Duration = Duration::from_secs(1);

/// What a service does with its database by itself.
pub trait Maintain: Send + 'static {
    /// Makes the database what the service needs. Called until it has succeeded once.
    fn prepare(&mut self) -> impl Future<Output = Result<()>> + Send;

    /// Learns what there is to know. Called each second.
    fn refresh(&mut self) -> impl Future<Output = Result<()>> + Send;
}

/// Maintains the database at `url` until the tasks stop; `answers` holds while it answers. A database that
/// is only away is waited for. Any other failure at the start is an error.
pub async fn maintain(
    maintenance: impl Maintain,
    url: &DatabaseUrl,
    answers: Condition,
    tasks: &Tasks,
) -> anyhow::Result<()> {
    let mut maintenance_loop = MaintenanceLoop { maintenance, is_prepared: false, answers };
    let answered = match maintenance_loop.poll().await {
        Ok(()) => true,
        Err(DatabaseError::Unavailable(cause)) => {
            tracing::warn!(database = ?url, %cause, "starting without the database");
            false
        }
        Err(error) => return Err(error).context(format!("database_url: {url:?}")),
    };
    tasks.spawn(maintenance_loop.run(answered));
    Ok(())
}

struct MaintenanceLoop<A> {
    maintenance: A,
    is_prepared: bool,
    answers: Condition,
}

impl<A: Maintain> MaintenanceLoop<A> {
    async fn run(mut self, mut answered: bool) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let polled = self.poll().await;
            match &polled {
                Ok(()) if !answered => tracing::info!("the database is there"),
                Err(error) if answered => tracing::warn!(%error, "the database is away"),
                Ok(()) | Err(_) => {}
            }
            answered = polled.is_ok();
        }
    }

    async fn poll(&mut self) -> Result<()> {
        let polled = self.try_poll().await;
        self.answers.set(polled.is_ok());
        polled
    }

    async fn try_poll(&mut self) -> Result<()> {
        if !self.is_prepared {
            self.maintenance.prepare().await?;
            self.is_prepared = true;
        }
        self.maintenance.refresh().await
    }
}
