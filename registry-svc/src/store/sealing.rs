//! Encrypts stored bindings again when the key has changed.

use mesh::database;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait as _, ConnectionTrait as _, DbBackend, EntityTrait as _, QueryFilter as _};

use super::entity::binding;
use super::{DatabaseError, Result, Store};
use crate::keyring;

impl Store {
    /// Encrypts bindings that are stored in plaintext or under a former key with the current key. Bindings
    /// that cannot be decrypted are left unchanged. Several replicas may do so concurrently.
    pub(super) async fn seal_bindings(&self) -> Result<()> {
        let rows = binding::Entity::find().all(&self.db).await?;
        let stale = rows.into_iter().filter(|row| !self.keyring.is_current(&row.params));
        let opened = stale.filter_map(|row| Some((self.keyring.open(&row.id, &row.params).ok()?, row)));
        let opened: Vec<_> = opened.collect();
        let were_clear = opened.iter().filter(|(_, row)| keyring::is_clear(&row.params)).count();
        if !self.keyring.has_key() {
            if were_clear > 0 {
                tracing::error!(
                    bindings = were_clear,
                    "bindings are stored in plaintext; set encryption_key"
                );
            }
            return Ok(());
        }
        if opened.is_empty() {
            return Ok(());
        }

        let turn = self.turn.lock().await;
        let transaction = database::begin_write(&self.db).await?;
        for (params, row) in &opened {
            let sealed = self.keyring.seal(&row.id, params);
            let sealed = sealed.ok_or_else(|| DatabaseError::Failed("there is no encryption_key".into()))?;
            binding::Entity::update_many()
                .col_expr(binding::Column::Params, Expr::value(sealed))
                .filter(binding::Column::Id.eq(&row.id))
                // Skip rows that another replica has already encrypted.
                .filter(binding::Column::Params.eq(&row.params))
                .exec(&transaction)
                .await?;
        }
        transaction.commit().await.map_err(DatabaseError::of_commit)?;
        drop(turn);
        tracing::info!(bindings = opened.len(), were_clear, "encrypted bindings with the current key");
        if were_clear > 0 {
            tracing::warn!("secrets were stored in plaintext and may be in backups; consider rotating them");
            if let Err(error) = self.wipe_former().await {
                tracing::warn!(%error, "secrets may remain in unused pages of the database");
            }
        }
        Ok(())
    }

    /// Removes deleted and overwritten rows from the database files.
    async fn wipe_former(&self) -> Result<()> {
        if self.db.get_database_backend() == DbBackend::Postgres {
            // Rewrites the whole table, which is small.
            self.db.execute_unprepared("VACUUM FULL binding").await?;
        } else {
            self.db.execute_unprepared("VACUUM").await?;
            self.db.execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)").await?;
        }
        Ok(())
    }
}
