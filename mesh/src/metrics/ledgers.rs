//! The metrics of ledgers, which count what became of events and of results.

use prometheus::{IntGauge, IntGaugeVec};

/// The gauges that are set from the ledgers of all bindings.
#[derive(Debug, Clone)]
pub struct LedgerMetrics {
    /// The kinds of bindings. One without bindings is 0, not absent.
    pub kinds: &'static [&'static str],
    /// Dead letters now, by kind.
    pub dead_letters: IntGaugeVec,
    /// Events or results that the ledgers do not account for.
    pub unaccounted: IntGauge,
}

/// A binding's ledger, as far as the metrics show it.
#[derive(Debug, Clone, Copy)]
pub struct LedgerTotals<'a> {
    /// The binding's kind.
    pub kind: &'a str,
    /// How many dead letters it has.
    pub dead_letters: u64,
    /// How many events or results it does not account for.
    pub unaccounted: u64,
}

impl LedgerMetrics {
    /// Sets the gauges.
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
