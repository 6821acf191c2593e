//! Events in the journal.

use bytes::Bytes;
use mesh::database::DatabaseError;
use mesh::hash::Hash;
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};
use uuid::Uuid;

use crate::journal::answer::{Result, answered};
use crate::journal::change::Entry;
use crate::journal::entity::{cursor, in_flight};
use crate::journal::store::Journal;

impl Journal {
    /// The events of a binding, in the order in which they came: those in flight, and those that have
    /// ended and of which the source may not know it.
    pub(crate) async fn entries(&self, binding_id: &str) -> Result<Vec<Entry>> {
        let _turn = self.turn_to_read().await;
        let rows = in_flight::Entity::find()
            .filter(in_flight::Column::BindingId.eq(binding_id))
            .order_by_asc(in_flight::Column::Id)
            .all(&self.db);
        let rows = answered(Box::pin(rows)).await?;
        rows.into_iter().map(to_entry).collect()
    }

    /// The bindings that have events in flight.
    pub(crate) async fn busy_bindings(&self) -> Result<Vec<String>> {
        let ids = in_flight::Entity::find()
            .select_only()
            .column(in_flight::Column::BindingId)
            .distinct()
            .filter(in_flight::Column::EndedAtMs.is_null())
            .into_tuple()
            .all(&self.db);
        answered(ids).await
    }

    /// Where the cursor of a binding stands.
    pub(crate) async fn cursor(&self, binding_id: &str) -> Result<Option<i64>> {
        let _turn = self.turn_to_read().await;
        let row = cursor::Entity::find_by_id(binding_id).one(&self.db);
        let row = answered(Box::pin(row)).await?;
        Ok(row.map(|row| row.value))
    }
}

fn to_entry(row: in_flight::Model) -> Result<Entry> {
    let broken = |what: &str| DatabaseError::Failed(format!("the event {} has a broken {what}", row.id));
    let fingerprint = row.fingerprint.as_deref().map(Hash::try_from).transpose();
    Ok(Entry {
        id: Uuid::parse_str(&row.id).map_err(|_| broken("id"))?,
        fingerprint: fingerprint.map_err(|_| broken("fingerprint"))?,
        invocation_id: Uuid::parse_str(&row.invocation_id).map_err(|_| broken("invocation id"))?,
        received_at_ms: row.received_at_ms,
        ended: row.ended_at_ms.is_some(),
        key: row.key,
        args: row.args.map(Bytes::from),
        trace: row.traceparent.and_then(|text| text.parse().ok()),
    })
}
