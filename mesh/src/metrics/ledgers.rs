//! The metrics of ledgers, which count the outcomes of events and results.

use prometheus::{IntGauge, IntGaugeVec};

/// Gauges that are computed from the ledgers of all bindings.
#[derive(Debug, Clone)]
pub struct LedgerMetrics {
    /// The kinds of bindings. A kind without bindings has the value 0.
    pub kinds: &'static [&'static str],
    /// The current number of dead letters, by kind.
    pub dead_letters: IntGaugeVec,
    /// The number of events or results that the ledgers do not account for.
    pub unaccounted: IntGauge,
}

/// The part of a binding's ledger that the metrics use.
#[derive(Debug, Clone, Copy)]
pub struct LedgerTotals<'a> {
    /// The binding's kind.
    pub kind: &'a str,
    /// The number of its dead letters.
    pub dead_letters: u64,
    /// The number of events or results that it does not account for.
    pub unaccounted: u64,
}

impl LedgerMetrics {
    /// Sets the gauges from all ledgers.
    pub fn set(&self, ledgers: &[LedgerTotals<'_>]) {
        let gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        for kind in self.kinds {
            let of_kind = ledgers.iter().filter(|ledger| ledger.kind == *kind);
            let dead_letters = of_kind.map(|ledger| ledger.dead_letters).sum();
            self.dead_letters.with_label_values(&[kind]).set(gauge(dead_letters));
        }
        self.unaccounted.set(gauge(ledgers.iter().map(|ledger| ledger.unaccounted).sum()));
    }
}
