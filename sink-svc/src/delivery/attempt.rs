//! Attempts to deliver results, with their spans.

use mesh::telemetry::{self, TraceParent, Traced as _};
use tracing::Span;

use super::queue::Waiting;
use super::settlement::Settlement;
use crate::kinds::{Away, Delivery, Outcome, Sink};
use crate::outbox::Pending;
use crate::trace::{Store, attempt_span};

/// An attempt. Its span ends when this is dropped.
#[derive(Debug)]
pub(super) struct Attempt {
    span: Span,
    /// The trace context sent to the store when there is no span: that of the result, if there is only one.
    parent: Option<TraceParent>,
}

impl Attempt {
    /// Begins an attempt to deliver `rows`.
    pub(super) fn begin(store: &Store, rows: &[Waiting]) -> Self {
        let rows: Vec<&Pending> = rows.iter().map(|waiting| &waiting.row).collect();
        let span = attempt_span(store, &rows);
        let parent = match rows[..] {
            [only] if span.is_disabled() => only.trace,
            _ => None,
        };
        Self { span, parent }
    }

    /// Sends the results.
    pub(super) async fn deliver(
        &self,
        sink: &dyn Sink,
        deliveries: &[Delivery],
    ) -> Result<Vec<Outcome>, Away> {
        let parent = self.parent.map(TraceParent::context).unwrap_or_default();
        let outcomes = sink.deliver(deliveries).traced(self.span.clone(), parent).await;
        outcomes.inspect_err(|away| {
            telemetry::failed(&self.span, if away.is_denied { "egress_denied" } else { "away" });
        })
    }

    /// Records the settlement in the span, and the span in the dead letters.
    pub(super) fn record(&self, settlement: &mut Settlement) {
        if self.span.is_disabled() {
            return;
        }
        let trace = TraceParent::of(&self.span);
        settlement.dead_lettered.iter_mut().for_each(|dead_lettered| dead_lettered.trace = trace);
        self.span.record("funless.sink.delivered", settlement.delivered.len());
        let dead = settlement.dead_lettered.len();
        let refused = settlement.postponed.len() + dead;
        if refused > 0 {
            self.span.record("funless.sink.refused", refused);
            telemetry::failed(&self.span, if dead > 0 { "dead_letter" } else { "refused" });
        }
        if let Some(letter) = settlement.dead_lettered.first() {
            self.span.record("funless.sink.dead", dead);
            self.span.record("funless.dead_letter.id", &letter.letter_id);
        }
    }
}
