//! The registry's metrics.

use mesh::metrics::{int_counter, int_gauge};
use prometheus::{IntCounterVec, IntGauge, Registry};

/// Metrics of uploads, watches and the revision.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    /// Uploads of code that ended, by outcome: `accepted`, `refused` or `failed`.
    pub(crate) uploads: IntCounterVec,
    /// The number of open watches.
    pub(crate) watchers: IntGauge,
    /// The newest revision that this replica knows.
    pub(crate) revision: IntGauge,
}

impl Metrics {
    /// Registers the metrics.
    pub(crate) fn new(registry: &Registry) -> Self {
        let uploads = int_counter(
            registry,
            "funless_registry_uploads_total",
            "Uploads of code that ended: accepted, refused or failed.",
            &["outcome"],
        );
        // Start at 0, so that the first upload is seen as an increase.
        for outcome in ["accepted", "refused", "failed"] {
            uploads.with_label_values(&[outcome]);
        }
        let gauge = |name, help| int_gauge(registry, name, help, &[]).with_label_values::<&str>(&[]);
        Self {
            uploads,
            watchers: gauge("funless_registry_watchers", "Followers of the registry that are served."),
            revision: gauge("funless_registry_revision", "The newest revision that is known here."),
        }
    }
}
