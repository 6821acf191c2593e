//! Subjects. They are not part of watches, so their changes are not logged.

use mesh::hash::Hash;
use proto::registry::v1::Subject;
use sea_orm::{ActiveModelTrait as _, ColumnTrait as _, EntityTrait as _, QueryFilter as _, Set};

use crate::store::entity::subject;
use crate::store::{Reader, Result, Write};

impl Reader<'_> {
    /// Whether a subject with this name exists.
    pub(crate) async fn has_subject(&self, name: &str) -> Result<bool> {
        Ok(subject::Entity::find_by_id(name).one(&self.db).await?.is_some())
    }

    /// All subjects, unordered.
    pub(crate) async fn subjects(&self) -> Result<Vec<Subject>> {
        let rows = subject::Entity::find().all(&self.db).await?;
        Ok(rows.into_iter().map(to_subject).collect())
    }

    /// The subject whose token has this hash, expired or not.
    pub(crate) async fn subject_of(&self, token: &Hash) -> Result<Option<Subject>> {
        let has_token = subject::Column::TokenHash.eq(token.as_bytes().to_vec());
        let row = subject::Entity::find().filter(has_token).one(&self.db).await?;
        Ok(row.map(to_subject))
    }
}

impl Write {
    /// Inserts a subject. Its name must be free.
    pub(crate) async fn insert_subject(&mut self, subject: &Subject, token: &Hash) -> Result<()> {
        let row = subject::ActiveModel {
            name: Set(subject.name.clone()),
            role: Set(subject.role),
            token_hash: Set(token.as_bytes().to_vec()),
            expires_at_ms: Set(subject.expires_at_ms),
        };
        row.insert(&self.transaction).await?;
        Ok(())
    }

    /// Deletes a subject. Returns `false` if it does not exist.
    pub(crate) async fn delete_subject(&mut self, name: &str) -> Result<bool> {
        let deleted = subject::Entity::delete_by_id(name).exec(&self.transaction).await?;
        Ok(deleted.rows_affected > 0)
    }

    /// Deletes the subject with this token, if it exists.
    pub(crate) async fn revoke_token(&mut self, token: &Hash) -> Result<()> {
        let has_token = subject::Column::TokenHash.eq(token.as_bytes().to_vec());
        subject::Entity::delete_many().filter(has_token).exec(&self.transaction).await?;
        Ok(())
    }
}

fn to_subject(row: subject::Model) -> Subject {
    Subject { name: row.name, role: row.role, expires_at_ms: row.expires_at_ms }
}
