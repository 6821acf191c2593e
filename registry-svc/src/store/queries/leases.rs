//! Leases of bindings. They are no part of the revisions, and those who write them take turns among
//! themselves only.

use std::collections::HashMap;
use std::sync::Arc;

use mesh::database;
use proto::registry::v1::{BindingHolder, BindingRole};
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityTrait as _,
    IntoActiveModel as _, QueryFilter as _, QuerySelect as _, Set, Statement,
};
use tokio::sync::OwnedMutexGuard;

use crate::keyring::Keyring;
use crate::store::entity::{binding, binding_holder, binding_lease};
use crate::store::{DatabaseError, Reader, Result, Store};
use mesh::clock::now_ms;

/// The key of the advisory lock under which the leases of a role are written in PostgreSQL; the role
/// is added to it.
const LEASES_LOCK: i64 = 0x0066_756e_6c65_6173;
/// Ids in one statement, of whose parameters a database takes so many.
const MAX_IDS: usize = 1000;

/// Who runs bindings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) stopping: bool,
    /// When its leases end unless it renews them, Unix time in milliseconds.
    pub(crate) expires_at_ms: i64,
}

/// A look at the leases of a role that changes them. Dropped without a commit, it never was.
pub(crate) struct LeaseWrite {
    transaction: DatabaseTransaction,
    keyring: Arc<Keyring>,
    role: BindingRole,
    /// By the database's clock, which all replicas share.
    pub(crate) now_ms: i64,
    /// Released after the transaction has ended.
    _turn: OwnedMutexGuard<()>,
}

impl Store {
    /// Takes the turn among those who write the leases of this role.
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
    /// Who holds these bindings now, as far as they are held.
    pub(crate) async fn find_holders(&self, ids: &[String]) -> Result<Vec<BindingHolder>> {
        let now_ms = clock_ms(&self.db).await?;
        let mut holders = Vec::new();
        for ids in ids.chunks(MAX_IDS) {
            let rows = binding_lease::Entity::find()
                .find_also_related(binding_holder::Entity)
                .filter(binding_lease::Column::BindingId.is_in(ids))
                .filter(binding_holder::Column::ExpiresAtMs.gt(now_ms))
                .all(&self.db)
                .await?;
            holders.extend(rows.into_iter().filter_map(|(lease, holder)| {
                Some(BindingHolder { binding_id: lease.binding_id, address: holder?.address })
            }));
        }
        Ok(holders)
    }

    /// Which of these bindings there are, those included that cannot be read.
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
    /// Reads what is there with what this write has changed.
    pub(crate) fn read(&self) -> Reader<'_> {
        Reader { db: (&self.transaction).into(), keyring: &self.keyring }
    }

    /// The holders of the role, those included whose leases have ended.
    pub(crate) async fn holders(&self) -> Result<Vec<Holder>> {
        let rows = binding_holder::Entity::find()
            .filter(binding_holder::Column::Role.eq(i32::from(self.role)))
            .all(&self.transaction)
            .await?;
        let holders = rows.into_iter().map(|row| Holder {
            name: row.holder,
            address: row.address,
            stopping: row.stopping,
            expires_at_ms: row.expires_at_ms,
        });
        Ok(holders.collect())
    }

    /// The leases of the role, by binding, those included that have ended.
    pub(crate) async fn leases(&self) -> Result<HashMap<String, String>> {
        let rows = binding_lease::Entity::find()
            .inner_join(binding_holder::Entity)
            .filter(binding_holder::Column::Role.eq(i32::from(self.role)))
            .all(&self.transaction)
            .await?;
        Ok(rows.into_iter().map(|row| (row.binding_id, row.holder)).collect())
    }

    /// Adds or changes a holder.
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

    /// Forgets a holder, and its leases with it.
    pub(crate) async fn delete_holder(&self, name: &str) -> Result<()> {
        binding_holder::Entity::delete_by_id(name).exec(&self.transaction).await?;
        Ok(())
    }

    /// Gives leases to a holder, whoever had them.
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

    /// Makes leases be nobody's.
    pub(crate) async fn free_leases(&self, bindings: &[&str]) -> Result<()> {
        for bindings in bindings.chunks(MAX_IDS) {
            binding_lease::Entity::delete_many()
                .filter(binding_lease::Column::BindingId.is_in(bindings.iter().copied()))
                .exec(&self.transaction)
                .await?;
        }
        Ok(())
    }

    /// Makes it last.
    pub(crate) async fn commit(self) -> Result<()> {
        self.transaction.commit().await.map_err(DatabaseError::of_commit)
    }
}

/// The time by the database's clock: of PostgreSQL's server, or of this machine.
async fn clock_ms(db: &impl ConnectionTrait) -> Result<i64> {
    if db.get_database_backend() != DbBackend::Postgres {
        return Ok(now_ms());
    }
    let clock = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    let row = db.query_one_raw(Statement::from_string(DbBackend::Postgres, clock)).await?;
    let row = row.ok_or_else(|| DbErr::RecordNotFound("the time".into()))?;
    Ok(row.try_get_by_index(0)?)
}
