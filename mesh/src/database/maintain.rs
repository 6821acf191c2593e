//! Maintenance of a database that may become available later than its service, and go away at any time.

use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::{DatabaseError, DatabaseUrl, DiskSpace, Result};
use crate::health::Condition;
use crate::shutdown::Tasks;

/// How often the database is polled.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How often the database is audited.
const AUDIT_INTERVAL: Duration = Duration::from_secs(10);
/// How long an audit may take.
const AUDIT_TIMEOUT: Duration = Duration::from_secs(5);

/// A service's maintenance of its database.
pub trait Maintain: Send + 'static {
    /// Migrates the schema and prepares the data. Called until it has succeeded once.
    fn prepare(&mut self) -> impl Future<Output = Result<()>> + Send;

    /// Checks that the database responds, and reads what changes often. Called every second.
    fn refresh(&mut self) -> impl Future<Output = Result<()>> + Send;

    /// Reads what takes longer, for metrics. Called every 10 seconds; a failure is logged and does not make the
    /// service unready.
    fn audit(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send {
        std::future::ready(Ok(()))
    }
}

/// Maintains the database at `url` until the tasks stop; `answers` holds while it responds and has
/// space for new work. A database that is only
/// unavailable is waited for. Any other failure at the start is an error.
pub async fn maintain(
    maintenance: impl Maintain,
    url: &DatabaseUrl,
    answers: Condition,
    tasks: &Tasks,
) -> anyhow::Result<()> {
    let space = DiskSpace::of(url);
    let mut maintenance_loop =
        MaintenanceLoop { maintenance, space, is_prepared: false, audited: None, answers };
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
    space: DiskSpace,
    is_prepared: bool,
    /// When the last audit began.
    audited: Option<Instant>,
    answers: Condition,
}

impl<A: Maintain> MaintenanceLoop<A> {
    async fn run(mut self, mut answered: bool) {
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            let polled = self.poll().await;
            match &polled {
                Ok(()) if !answered => tracing::info!("the database is available"),
                Err(error) if answered => tracing::warn!(%error, "the database is not available"),
                Ok(()) | Err(_) => {}
            }
            answered = polled.is_ok();
        }
    }

    async fn poll(&mut self) -> Result<()> {
        let polled = self.try_poll().await;
        self.answers.set(polled.is_ok());
        if polled.is_ok() && self.audited.is_none_or(|at| at.elapsed() >= AUDIT_INTERVAL) {
            self.audited = Some(Instant::now());
            self.audit().await;
        }
        polled
    }

    async fn audit(&mut self) {
        match tokio::time::timeout(AUDIT_TIMEOUT, self.maintenance.audit()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the audit of the database failed"),
            Err(_) => tracing::debug!("the audit of the database timed out"),
        }
    }

    async fn try_poll(&mut self) -> Result<()> {
        if !self.is_prepared {
            self.maintenance.prepare().await?;
            self.is_prepared = true;
        }
        self.maintenance.refresh().await?;
        self.space.check()
    }
}
