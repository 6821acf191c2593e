//! Whether a source is connected, told to those who ask and to those who count.

use mesh::bindings::Report;

use crate::metrics::KindMetrics;

/// The connection to a source. It counts as lost when it is dropped.
pub(super) struct Link<'a> {
    report: &'a Report,
    metrics: &'a KindMetrics,
    is_up: bool,
}

impl<'a> Link<'a> {
    /// A connection that is not there yet.
    pub(super) fn new(report: &'a Report, metrics: &'a KindMetrics) -> Self {
        Self { report, metrics, is_up: false }
    }

    /// It is there.
    pub(super) fn up(&mut self) {
        if !std::mem::replace(&mut self.is_up, true) {
            self.metrics.connected.inc();
        }
        self.report.connected();
    }

    /// It is not there because of `problem`; another attempt will be made.
    pub(super) fn down(&mut self, problem: impl Into<String>) {
        if std::mem::replace(&mut self.is_up, false) {
            self.metrics.connected.dec();
            self.metrics.connections_lost.inc();
        }
        self.report.retrying(problem);
    }

    /// Whether it is there.
    pub(super) fn is_up(&self) -> bool {
        self.is_up
    }

    /// An event came in.
    pub(super) fn active(&self) {
        self.report.active();
    }
}

impl Drop for Link<'_> {
    fn drop(&mut self) {
        if self.is_up {
            self.metrics.connected.dec();
        }
    }
}
