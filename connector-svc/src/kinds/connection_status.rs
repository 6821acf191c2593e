//! Whether a source is connected, for the binding's status and for metrics.

use mesh::bindings::Report;

use crate::metrics::KindMetrics;

/// The state of the connection to a source. When it is dropped, the connection is no longer counted.
pub(super) struct ConnectionStatus<'a> {
    report: &'a Report,
    metrics: &'a KindMetrics,
    is_connected: bool,
}

impl<'a> ConnectionStatus<'a> {
    /// Not connected yet.
    pub(super) fn new(report: &'a Report, metrics: &'a KindMetrics) -> Self {
        Self { report, metrics, is_connected: false }
    }

    /// The connection is established.
    pub(super) fn connected(&mut self) {
        if !std::mem::replace(&mut self.is_connected, true) {
            self.metrics.connected.inc();
        }
        self.report.connected();
    }

    /// There is no connection, because of `problem`. Another attempt will be made.
    pub(super) fn disconnected(&mut self, problem: impl Into<String>) {
        if std::mem::replace(&mut self.is_connected, false) {
            self.metrics.connected.dec();
            self.metrics.connections_lost.inc();
        }
        self.report.retrying(problem);
    }

    /// Whether there is a connection.
    pub(super) fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// An event has come in.
    pub(super) fn active(&self) {
        self.report.active();
    }
}

impl Drop for ConnectionStatus<'_> {
    fn drop(&mut self) {
        if self.is_connected {
            self.metrics.connected.dec();
        }
    }
}
