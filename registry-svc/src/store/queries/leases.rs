//! Leases of bindings. They are not part of the revisions, and their writers have a lock of their own.

use std::collections::HashMap;
use std::sync::Arc;

use mesh::database;
use proto::registry::v1::BindingRole;
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityTrait as _,
    IntoActiveModel as _, QueryFilter as _, QuerySelect as _, Set, Statement,
};
use tokio::sync::OwnedMutexGuard;

use super::MAX_IDS;
use crate::keyring::Keyring;
use crate::store::entity::{binding, binding_holder, binding_lease};
use crate::store::{DatabaseError, Reader, Result, Store};
use mesh::clock::now_ms;

/// The key of the PostgreSQL advisory lock for writing leases; the role is added to it.
const LEASES_LOCK: i64 = 0x0066_756e_6c65_6173;

/// A replica that runs bindings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) stopping: bool,
    /// When its leases expire, as Unix time in milliseconds.
    pub(crate) expires_at_ms: i64,
}

impl From<binding_holder::Model> for Holder {
    fn from(row: binding_holder::Model) -> Self {
        Self {
            name: row.holder,
            address: row.address,
            stopping: row.stopping,
            expires_at_ms: row.expires_at_ms,
        }
    }
}

/// A write to the leases of one role. Dropping it without a commit rolls it back.
pub(crate) struct LeaseWrite {
    transaction: DatabaseTransaction,
    keyring: Arc<Keyring>,
    role: BindingRole,
    /// The time of the database's clock, which all replicas share.
    pub(crate) now_ms: i64,
    /// Released after the transaction has ended.
    _turn: OwnedMutexGuard<()>,
}

impl Store {
    /// Begins a write to the leases of this role. Such writes are serialized.
    pub(crate) async fn lease(&self, role: BindingRole) -> Result<LeaseWrite> {
        let turn = Arc::clone(&self.lease_turn).lock_owned().await;
        let transaction = database::begin_write(&self.db).await?;
        if transaction.get_database_backend() == DbBackend::Postgres {
            let lock = "SELECT pg_advisory_xact_lock($1)";
            let key = (LEASES_LOCK + i64::from(i32::from(role))).into();
            transaction.execute_raw(Statement::from_sql_and_values(DbBackend::Postgres, lock, [key])).await?;
        }
        let now_ms = clock_ms(&transaction).await?;
        Ok(LeaseWrite { transaction, keyring: Arc::clone(&self.keyring), role, now_ms, _turn: turn })
    }
}

impl Reader<'_> {
    /// The time by which leases expire, as Unix time in milliseconds.
    pub(crate) async fn clock_ms(&self) -> Result<i64> {
        clock_ms(&self.db).await
    }

    /// The holders of those of these bindings that are leased, by binding, including those whose leases have expired.
    pub(crate) async fn find_holders(&self, ids: &[String]) -> Result<Vec<(String, Holder)>> {
        let mut holders = Vec::new();
        for ids in ids.chunks(MAX_IDS) {
            let rows = binding_lease::Entity::find()
                .find_also_related(binding_holder::Entity)
                .filter(binding_lease::Column::BindingId.is_in(ids))
                .all(&self.db)
                .await?;
            holders.extend(
                rows.into_iter()
                    .filter_map(|(lease, holder)| Some((lease.binding_id, Holder::from(holder?)))),
            );
        }
        Ok(holders)
    }

    /// The ids of those of these bindings that exist, including unreadable ones.
    pub(crate) async fn existing_bindings(&self, ids: &[String]) -> Result<Vec<String>> {
        let mut existing = Vec::new();
        for ids in ids.chunks(MAX_IDS) {
            let rows = binding::Entity::find()
                .select_only()
                .column(binding::Column::Id)
                .filter(binding::Column::Id.is_in(ids))
                .into_tuple::<String>();
            existing.extend(rows.all(&self.db).await?);
        }
        Ok(existing)
    }
}

impl LeaseWrite {
    /// Reads the database, including the changes of this write.
    pub(crate) fn read(&self) -> Reader<'_> {
        Reader { db: (&self.transaction).into(), keyring: &self.keyring }
    }

    /// The holders of the role, including those whose leases have expired.
    pub(crate) async fn holders(&self) -> Result<Vec<Holder>> {
        let rows = binding_holder::Entity::find()
            .filter(binding_holder::Column::Role.eq(i32::from(self.role)))
            .all(&self.transaction)
            .await?;
        Ok(rows.into_iter().map(Holder::from).collect())
    }

    /// The holders of the role's leases by binding, including expired leases.
    pub(crate) async fn leases(&self) -> Result<HashMap<String, String>> {
        let rows = binding_lease::Entity::find()
            .select_only()
            .columns([binding_lease::Column::BindingId, binding_lease::Column::Holder])
            .inner_join(binding_holder::Entity)
            .filter(binding_holder::Column::Role.eq(i32::from(self.role)))
            .into_tuple()
            .all(&self.transaction)
            .await?;
        Ok(rows.into_iter().collect())
    }

    /// Inserts or updates a holder.
    pub(crate) async fn put_holder(&self, holder: &Holder) -> Result<()> {
        use binding_holder::Column;
        let row = binding_holder::Model {
            holder: holder.name.clone(),
            role: self.role.into(),
            address: holder.address.clone(),
            stopping: holder.stopping,
            expires_at_ms: holder.expires_at_ms,
        };
        let replace = OnConflict::column(Column::Holder)
            .update_columns([Column::Role, Column::Address, Column::Stopping, Column::ExpiresAtMs])
            .to_owned();
        let insert = binding_holder::Entity::insert(row.into_active_model()).on_conflict(replace);
        insert.exec_without_returning(&self.transaction).await?;
        Ok(())
    }

    /// Deletes a holder and its leases.
    pub(crate) async fn delete_holder(&self, name: &str) -> Result<()> {
        binding_holder::Entity::delete_by_id(name).exec(&self.transaction).await?;
        Ok(())
    }

    /// Assigns leases to a holder, even if others have them.
    pub(crate) async fn take_leases(&self, holder: &str, bindings: &[&str]) -> Result<()> {
        use binding_lease::Column;
        for bindings in bindings.chunks(MAX_IDS) {
            let rows = bindings.iter().map(|binding| binding_lease::ActiveModel {
                binding_id: Set((*binding).to_owned()),
                holder: Set(holder.to_owned()),
            });
            let replace = OnConflict::column(Column::BindingId).update_column(Column::Holder).to_owned();
            let insert = binding_lease::Entity::insert_many(rows).on_conflict(replace);
            insert.exec_without_returning(&self.transaction).await?;
        }
        Ok(())
    }

    /// Deletes leases.
    pub(crate) async fn free_leases(&self, bindings: &[&str]) -> Result<()> {
        for bindings in bindings.chunks(MAX_IDS) {
            binding_lease::Entity::delete_many()
                .filter(binding_lease::Column::BindingId.is_in(bindings.iter().copied()))
                .exec(&self.transaction)
                .await?;
        }
        Ok(())
    }

    /// Commits the write.
    pub(crate) async fn commit(self) -> Result<()> {
        self.transaction.commit().await.map_err(DatabaseError::of_commit)
    }
}

/// The time of the PostgreSQL server, or of this machine for SQLite.
async fn clock_ms(db: &impl ConnectionTrait) -> Result<i64> {
    if db.get_database_backend() != DbBackend::Postgres {
        return Ok(now_ms());
    }
    let clock = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    let row = db.query_one_raw(Statement::from_string(DbBackend::Postgres, clock)).await?;
    let row = row.ok_or_else(|| DbErr::RecordNotFound("the time".into()))?;
    Ok(row.try_get_by_index(0)?)
}
