//! Pending and settled results.

use std::ops::RangeInclusive;

use bytes::Bytes;
use mesh::database::Result as DatabaseResult;
use mesh::telemetry::TraceParent;
use sea_orm::ConnectionTrait as _;
use sea_orm::sea_query::{Expr, ExprTrait as _, Order, Query};

use super::super::changes::in_state;
use super::super::entity::ledger;
use super::super::entity::outbox::{self, PENDING, SETTLED};
use super::super::{Amount, Outbox, Tables};
use crate::error::Result;

/// The maximum number of rows that one call deletes.
const MAX_DELETED: u64 = 5000;

/// A pending result.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) seq: i64,
    pub(crate) invocation_id: String,
    pub(crate) attempts: i32,
    pub(crate) due_at_ms: i64,
    pub(crate) received_at_ms: i64,
    pub(crate) last_error: String,
    pub(crate) result: Bytes,
    /// The span that put it into the outbox.
    pub(crate) trace: Option<TraceParent>,
}

/// Some of the pending results of a binding.
#[derive(Debug)]
pub(crate) struct Page {
    /// In the order of arrival.
    pub(crate) rows: Vec<Pending>,
    /// There may be more rows after these.
    pub(crate) more: bool,
}

/// The limits of a page. A single row may be larger.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageLimits {
    pub(crate) rows: usize,
    pub(crate) bytes: i64,
}

impl Outbox {
    /// The pending results of a binding with a `seq` above `after`, except those that are due in `not_due`.
    pub(crate) async fn page(
        &self,
        binding_id: &str,
        after: i64,
        not_due: Option<RangeInclusive<i64>>,
        limits: PageLimits,
    ) -> Result<Page> {
        use outbox::Column::{
            Attempts, BindingId, DueAtMs, InvocationId, LastError, ReceivedAtMs, Seq, Size, Traceparent,
        };
        let is_due =
            |not_due: RangeInclusive<i64>| Expr::col(DueAtMs).not_between(*not_due.start(), *not_due.end());
        let of_page = || {
            let mut select = Query::select();
            select
                .from(outbox::Entity)
                .and_where(Expr::col(BindingId).eq(binding_id))
                .and_where(in_state(PENDING))
                .and_where(Expr::col(Seq).gt(after))
                .and_where_option(not_due.clone().map(is_due))
                .order_by(Seq, Order::Asc);
            select
        };
        // The sizes are read first, so that a page of large results has few of them.
        let mut sizes = of_page();
        sizes.columns([Seq, Size]).limit(limits.rows as u64);
        let sizes = self.tables.db.query_all(&sizes).await?;
        let (mut last, mut bytes, mut count) = (after, 0_i64, 0);
        for row in &sizes {
            bytes = bytes.saturating_add(row.try_get_by(1)?);
            if count > 0 && bytes > limits.bytes {
                break;
            }
            (last, count) = (row.try_get_by(0)?, count + 1);
        }
        if count == 0 {
            return Ok(Page { rows: Vec::new(), more: false });
        }
        let mut select = of_page();
        select
            .columns([Seq, InvocationId, Attempts, DueAtMs, ReceivedAtMs, LastError])
            .columns([outbox::Column::Result, Traceparent])
            .and_where(Expr::col(Seq).lte(last));
        let rows = self.tables.db.query_all(&select).await?;
        let rows = rows.iter().map(|row| {
            Ok(Pending {
                seq: row.try_get_by(0)?,
                invocation_id: row.try_get_by(1)?,
                attempts: row.try_get_by(2)?,
                due_at_ms: row.try_get_by(3)?,
                received_at_ms: row.try_get_by(4)?,
                last_error: row.try_get_by(5)?,
                result: Bytes::from(row.try_get_by::<Vec<u8>, _>(6)?),
                trace: row.try_get_by::<Option<String>, _>(7)?.and_then(|text| text.parse().ok()),
            })
        });
        let more = count < sizes.len() || sizes.len() == limits.rows;
        Ok(Page { rows: rows.collect::<Result<_>>()?, more })
    }

    /// Some pending rows of a binding, each with its number of failed attempts.
    pub(crate) async fn attempts(&self, binding_id: &str, limit: u64) -> Result<Vec<(i64, i32)>> {
        let mut select = Query::select();
        select
            .columns([outbox::Column::Seq, outbox::Column::Attempts])
            .from(outbox::Entity)
            .and_where(Expr::col(outbox::Column::BindingId).eq(binding_id))
            .and_where(in_state(PENDING))
            .order_by(outbox::Column::Seq, Order::Asc)
            .limit(limit);
        let rows = self.tables.db.query_all(&select).await?;
        rows.iter().map(|row| Ok((row.try_get_by(0)?, row.try_get_by(1)?))).collect()
    }
}

impl Tables {
    /// The bindings that have pending results, and how much is pending.
    pub(in crate::outbox) async fn waiting(&self) -> DatabaseResult<Vec<(String, Amount)>> {
        use ledger::Column::{Accepted, BindingId, Dead, Delivered, PendingBytes, Purged};
        let rows =
            || Expr::col(Accepted).sub(Expr::col(Delivered)).sub(Expr::col(Dead)).sub(Expr::col(Purged));
        let mut select = Query::select();
        select
            .column(BindingId)
            .expr(rows())
            .column(PendingBytes)
            .from(ledger::Entity)
            .and_where(rows().gt(0));
        let waiting = self.db.query_all(&select).await?;
        let waiting = waiting.iter().map(|row| {
            let amount = Amount { rows: row.try_get_by(1)?, bytes: row.try_get_by(2)? };
            Ok((row.try_get_by(0)?, amount))
        });
        waiting.collect()
    }

    /// Settled rows that were settled before `before_ms` or are not among the newest `newest`.
    pub(in crate::outbox) async fn deletable(&self, before_ms: i64, newest: i64) -> DatabaseResult<Vec<i64>> {
        let mut last = Query::select();
        last.expr(Expr::col(outbox::Column::Seq).max()).from(outbox::Entity);
        let last = self.db.query_one(&last).await?;
        let last: Option<i64> = last.map(|row| row.try_get_by(0)).transpose()?.flatten();
        let oldest_kept = last.unwrap_or_default().saturating_sub(newest);
        // Usually even the oldest is to be kept. Then it is the only one that is read.
        let oldest = self.settled(1, oldest_kept, before_ms).await?;
        match oldest.is_empty() {
            true => Ok(oldest),
            false => self.settled(MAX_DELETED, oldest_kept, before_ms).await,
        }
    }

    /// Of the oldest `limit` settled rows, those up to `last` or settled before `before_ms`.
    async fn settled(&self, limit: u64, last: i64, before_ms: i64) -> DatabaseResult<Vec<i64>> {
        let mut select = Query::select();
        select
            .columns([outbox::Column::Seq, outbox::Column::SettledAtMs])
            .from(outbox::Entity)
            .and_where(in_state(SETTLED))
            .order_by(outbox::Column::Seq, Order::Asc)
            .limit(limit);
        let mut deletable = Vec::new();
        for row in self.db.query_all(&select).await? {
            let (seq, settled_at_ms): (i64, i64) = (row.try_get_by(0)?, row.try_get_by(1)?);
            if seq <= last || settled_at_ms < before_ms {
                deletable.push(seq);
            }
        }
        Ok(deletable)
    }
}
