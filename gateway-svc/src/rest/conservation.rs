//! Audit of events and results: the numbers received and their outcomes.

use axum::Json;
use axum::extract::State;
use mesh::{Caller, paging};
use proto::connector::v1::{EventLedger, ListEventLedgersRequest};
use proto::sink::v1::{ListSinkLedgersRequest, SinkLedger};
use serde::Serialize;
use utoipa::ToSchema;

use super::Rest;
use super::error::{ApiError, CommonErrors};
use super::events::EventCountsView;
use super::extract::User;
use super::role::Role;
use super::schema::Data;
use super::sinks::SinkCountsView;

/// The ledgers of all events and of all results.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Conservation {
    events: Books<EventBalance>,
    sinks: Books<SinkBalance>,
}

/// The sum of all bindings, and each of them, including removed bindings.
#[derive(Debug, Serialize, ToSchema)]
struct Books<B> {
    sum: B,
    /// Ordered by module, function and id.
    bindings: Vec<Ledger<B>>,
}

/// The ledger of one binding.
#[derive(Debug, Serialize, ToSchema)]
struct Ledger<B> {
    binding_id: String,
    #[schema(example = "mqtt")]
    binding_type: String,
    module: String,
    function: String,
    #[serde(flatten)]
    balance: B,
}

/// The counts of events. A drift other than 0 is a fault of the platform.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
struct EventBalance {
    #[serde(flatten)]
    counts: EventCountsView,
    /// `received - acknowledged - in_flight - lost`.
    drift: i64,
    /// `dead_lettered - dead_letters - redriven - purged`.
    dead_letter_drift: i64,
}

/// The counts of results. A drift other than 0 is a fault of the platform.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
struct SinkBalance {
    #[serde(flatten)]
    counts: SinkCountsView,
    /// `accepted - delivered - pending - dead - purged`.
    drift: i64,
}

/// Adds up the outcomes of events and results of the functions that the caller has access to.
///
/// Each count changes together with the events or results that it counts, and survives restarts.
#[utoipa::path(get, path = "/v1/conservation", tag = "events and sinks",
    responses((status = 200, description = "The ledgers.", body = Data<Conservation>), CommonErrors))]
pub(super) async fn get_conservation(
    State(rest): State<Rest>,
    User(caller): User,
) -> Result<Json<Data<Conservation>>, ApiError> {
    let (events, sinks) = tokio::try_join!(event_ledgers(&rest, &caller), sink_ledgers(&rest, &caller))?;
    Ok(Json(Data { data: Conservation { events: Books::of(events), sinks: Books::of(sinks) } }))
}

async fn event_ledgers(rest: &Rest, caller: &Caller) -> Result<Vec<Ledger<EventBalance>>, ApiError> {
    let ledgers = paging::all(|page_token| async move {
        let request = ListEventLedgersRequest { page_token, ..ListEventLedgersRequest::default() };
        let reply =
            rest.channels.events().list_event_ledgers(rest.request(caller, request)).await?.into_inner();
        Ok((reply.ledgers, reply.next_page_token))
    });
    let ledgers = ledgers.await.map_err(|status| Role::Event.failed(status))?;
    Ok(ledgers.into_iter().map(Ledger::from).collect())
}

async fn sink_ledgers(rest: &Rest, caller: &Caller) -> Result<Vec<Ledger<SinkBalance>>, ApiError> {
    let ledgers = paging::all(|page_token| async move {
        let request = ListSinkLedgersRequest { page_token, ..ListSinkLedgersRequest::default() };
        let reply =
            rest.channels.sinks().list_sink_ledgers(rest.request(caller, request)).await?.into_inner();
        Ok((reply.ledgers, reply.next_page_token))
    });
    let ledgers = ledgers.await.map_err(|status| Role::Sink.failed(status))?;
    Ok(ledgers.into_iter().map(Ledger::from).collect())
}

/// Counts that can be added up.
trait Balance: Copy + Default {
    fn plus(self, other: Self) -> Self;
}

impl<B: Balance> Books<B> {
    fn of(mut bindings: Vec<Ledger<B>>) -> Self {
        bindings.sort_by(|a, b| {
            (&a.module, &a.function, &a.binding_id).cmp(&(&b.module, &b.function, &b.binding_id))
        });
        let sum = bindings.iter().map(|ledger| ledger.balance).fold(B::default(), B::plus);
        Self { sum, bindings }
    }
}

impl From<EventCountsView> for EventBalance {
    fn from(counts: EventCountsView) -> Self {
        let EventCountsView { received, acknowledged, in_flight, lost, dead_lettered, .. } = counts;
        Self {
            drift: difference(received, [acknowledged, in_flight, lost]),
            dead_letter_drift: difference(
                dead_lettered,
                [counts.dead_letters, counts.redriven, counts.purged],
            ),
            counts,
        }
    }
}

impl Balance for EventBalance {
    fn plus(self, other: Self) -> Self {
        let (a, b) = (self.counts, other.counts);
        Self::from(EventCountsView {
            received: a.received + b.received,
            acknowledged: a.acknowledged + b.acknowledged,
            in_flight: a.in_flight + b.in_flight,
            lost: a.lost + b.lost,
            invalid: a.invalid + b.invalid,
            dead_lettered: a.dead_lettered + b.dead_lettered,
            dead_letters: a.dead_letters + b.dead_letters,
            redriven: a.redriven + b.redriven,
            purged: a.purged + b.purged,
        })
    }
}

impl From<SinkCountsView> for SinkBalance {
    fn from(counts: SinkCountsView) -> Self {
        let SinkCountsView { accepted, delivered, pending, dead, purged } = counts;
        Self { drift: difference(accepted, [delivered, pending, dead, purged]), counts }
    }
}

impl Balance for SinkBalance {
    fn plus(self, other: Self) -> Self {
        let (a, b) = (self.counts, other.counts);
        Self::from(SinkCountsView {
            accepted: a.accepted + b.accepted,
            delivered: a.delivered + b.delivered,
            pending: a.pending + b.pending,
            dead: a.dead + b.dead,
            purged: a.purged + b.purged,
        })
    }
}

impl From<EventLedger> for Ledger<EventBalance> {
    fn from(ledger: EventLedger) -> Self {
        Self {
            binding_id: ledger.binding_id,
            binding_type: ledger.binding_type,
            module: ledger.module,
            function: ledger.function,
            balance: EventCountsView::from(ledger.counts.unwrap_or_default()).into(),
        }
    }
}

impl From<SinkLedger> for Ledger<SinkBalance> {
    fn from(ledger: SinkLedger) -> Self {
        Self {
            binding_id: ledger.binding_id,
            binding_type: ledger.binding_type,
            module: ledger.module,
            function: ledger.function,
            balance: SinkCountsView::from(ledger.counts.unwrap_or_default()).into(),
        }
    }
}

/// The part of `whole` that `parts` do not account for; negative if their sum is larger.
fn difference<const N: usize>(whole: u64, parts: [u64; N]) -> i64 {
    let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    parts.into_iter().fold(signed(whole), |left, part| left.saturating_sub(signed(part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_has_a_sign() {
        for (whole, parts, expected) in
            [(0, [0, 0], 0), (5, [2, 3], 0), (5, [2, 2], 1), (5, [3, 3], -1), (u64::MAX, [0, 0], i64::MAX)]
        {
            assert_eq!(difference(whole, parts), expected, "{whole} {parts:?}");
        }
    }
}
